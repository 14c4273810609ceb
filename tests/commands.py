"""Runs programs from the repository's root."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str, timeout: float = 120, **environment: str) -> str:
    """What a command prints that runs in the repository's root and ends well."""
    variables = os.environ | environment
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()
