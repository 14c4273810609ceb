"""How many cores this process may use: its affinity, and the share that a container's control group leaves it."""

import math
import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")


def usable_cores(groups: Path = GROUPS) -> int:
    """At least 1. More threads than that only wait for each other, and a container's are stopped together when its share is used.

    Args:
        groups: where the control groups are. A container sees its own there.
    """
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = _quota(groups)
    except (OSError, ValueError):  # no control group, or no limit
        return allowed
    return max(1, min(allowed, math.ceil(quota / period))) if quota > 0 else allowed


def _quota(groups: Path) -> tuple[int, int]:
    """Microseconds of computing, and in how many: of control groups of version 2 or, where there are none, of version 1."""
    if (unified := groups / "cpu.max").exists():
        quota, period = unified.read_text(encoding="ascii").split()
    else:
        quota, period = ((groups / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
    return int(quota), int(period)
