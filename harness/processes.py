"""Programs that start others: none of them outlives the test; and what such a program holds in memory."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_python(*arguments: str, seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """Runs `python ARGUMENTS` from the repository's root to its end; its output, or a failure with the end of it."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | dict(environment or {}), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        log, _ = process.communicate(timeout=seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, log[-4000:]
    return log


def descendants(process: int) -> list[int]:
    """A process and all that it has started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    threads = [int(thread.name) for thread in Path(f"/proc/{process}/task").iterdir() if int(thread.name) != process]
    for thread in threads:
        children += Path(f"/proc/{process}/task/{thread}/children").read_text().split()
    return [process, *(one for child in children for one in descendants(int(child)))]


def proportional_bytes(process: int) -> int:
    """Proportional set size of a process and all that it has started: what is shared counts once."""
    total = 0
    for one in descendants(process):
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total
