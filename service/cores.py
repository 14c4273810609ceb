"""How many cores this process may use: its affinity, and the share that a container's control group leaves it."""

import math
import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cpu_max: Path = CPU_MAX) -> int:
    """At least 1. More threads than that only wait for each other, and a container's are stopped together when its share is used.

    Args:
        cpu_max: the quota of the process's control group (version 2): microseconds, or `max`, and the period.
    """
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        share = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no control group, another version of it, or no limit
        return allowed
    return max(1, min(allowed, share))
