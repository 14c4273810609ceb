"""Files of notes for the tests of the commands, and a way to run the commands like an operator."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]
COMMAND = Path(sys.executable).with_name("notellm-serve")


def note(number: int, **fields: object) -> Json:
    return {"id": f"n{number}", "title": f"note {number}", "content": "sour " * (number % 7), "hashtags": ["coffee"], **fields}


def write_lines(path: Path, rows: list[Json | str]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def start_command(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NOTELLM_")} | environment
    return subprocess.Popen(
        [COMMAND, *arguments],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def run_command(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `notellm-serve ARGUMENTS` to its end."""
    process = start_command(*arguments, **environment)
    try:
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
