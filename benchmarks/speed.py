"""`make bench`: measures every section of docs/results/speed.md on one checkpoint, and writes the report with its plots.

    .venv/bin/python -m benchmarks.speed checkpoints/demo docs/results/speed
    .venv/bin/python -m benchmarks.speed checkpoints/demo docs/results/speed --only encoders --only growth

Each section runs in its own process and writes `<section>.json`. The report contains all sections that have such a file. With `--quick`,
a section uses the fewest notes and rounds that show whether it works; its figures mean nothing.
"""

import argparse
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.report import Section, write_report

SECTIONS = (
    "encoders",
    "encoders_avx2",
    "steps",
    "int8",
    "token_vectors",
    "growth",
    "memory",
    "startup",
    "http",
    "suggestions",
    "hashtags",
    "mixed",
)


def section(name: str) -> Section:
    """The module of a section."""
    module: Any = import_module(f"benchmarks.{name}")
    found: Section = module
    return found


def main() -> None:
    """Runs the sections and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--only", action="append", choices=SECTIONS, help="measure only this section; repeat the option")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--here", choices=SECTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.here:
        content = section(options.here).measure(options.checkpoint, quick=options.quick)
        record = {"machine": machine(), "quick": options.quick, "content": content}
        (options.output / f"{options.here}.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
        return
    failed = []
    for name in options.only or SECTIONS:
        print(f"\n=== {name}", flush=True)
        environment = os.environ | getattr(section(name), "ENVIRONMENT", {})
        command = [sys.executable, "-m", "benchmarks.speed", str(options.checkpoint), str(options.output), "--here", name]
        command += ["--quick"] if options.quick else []
        if subprocess.run(command, check=False, env=environment).returncode:  # noqa: S603 -- itself
            failed.append(name)
    write_report(options.output, {name: section(name) for name in SECTIONS})
    if failed:
        sys.exit(f"these sections failed, see above: {', '.join(failed)}")


if __name__ == "__main__":
    main()
