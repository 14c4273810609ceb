"""Programs that start others: none of them outlives the test."""

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
