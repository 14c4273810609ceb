"""Runs `notellm-serve` to its end, as one that cannot start."""

import os
import subprocess
import sys
from pathlib import Path


def run_serve(**environment: str) -> subprocess.CompletedProcess[str]:
    """What it said, and its exit code. Other settings of this process do not count."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NOTELLM_")} | environment
    command = Path(sys.executable).with_name("notellm-serve")
    return subprocess.run([command], env=variables, capture_output=True, text=True, timeout=300, check=False)
