"""`usable_cores`: how many cores this process may use, by its CPU affinity and the CPU quota of its control group."""

import math
import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")


def usable_cores(groups: Path = GROUPS) -> int:
    """Returns how many cores this process may use, at least 1.

    More threads than cores only wait for each other, and a container that has used up its quota has all its threads stopped at once.

    Args:
        groups: directory of the control groups. A container sees its own group there.
    """
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = _quota(groups)
    except (OSError, ValueError):  # no control group, or no limit
        return allowed
    return max(1, min(allowed, math.ceil(quota / period))) if quota > 0 else allowed


def _quota(groups: Path) -> tuple[int, int]:
    """Returns the microseconds of CPU time per period and the period in microseconds, by cgroup version 2 or else version 1."""
    if (unified := groups / "cpu.max").exists():
        quota, period = unified.read_text(encoding="ascii").split()
    else:
        quota, period = ((groups / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
    return int(quota), int(period)
