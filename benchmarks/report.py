"""`write_report`: writes the measurements of all sections as one page with plots."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl

from benchmarks.measure import Content

HEAD = """# Speed

`make bench` (`python -m benchmarks.speed`) writes this page; [performance](../performance.md) explains the figures. Each section was
measured in one run, on one checkpoint, with the same notes and threads, and the ways took turns. A figure is the median of all rounds,
with the lowest and the highest in brackets. A machine's speed changes with time: read ratios, not rates.
"""


class Section(Protocol):
    """A module of this package.

    It may have an `ENVIRONMENT`, variables that its process needs.

    Attributes:
        TITLE: of its part of the report.
    """

    TITLE: str

    def measure(self, checkpoint: Path, *, quick: bool) -> Content:
        """Measures, printing what it is about to do."""
        ...

    def markdown(self, content: Content) -> str:
        """Its part of the report, without the title: tables, and what they show."""
        ...

    def figures(self, content: Content) -> dict[str, Any]:
        """Figures of matplotlib by file name without ending; they stand below the tables."""
        ...


def write_report(output: Path, sections: Mapping[str, Section]) -> Path:
    """Writes `<output>.md` from the `<section>.json` files in `output`, and the plots beside them."""
    mpl.use("Agg")
    parts = [HEAD]
    for name, section in sections.items():
        path = output / f"{name}.json"
        if not path.exists():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"## {section.TITLE}\n\n{_machine(record)}\n\n{section.markdown(record['content']).strip()}\n")
        for title, figure in section.figures(record["content"]).items():
            file = output / f"{title}.png"
            figure.savefig(file, dpi=110, metadata={"Software": None})
            parts.append(f"![{title.replace('-', ' ')}]({output.name}/{file.name})\n")
    report = output.with_suffix(".md")
    report.write_text("\n".join(parts), encoding="utf-8")
    return report


def _machine(record: Mapping[str, object]) -> str:
    facts = record["machine"]
    assert isinstance(facts, dict)
    releases = ", ".join(f"{name} {facts[name]}" for name in facts if name not in {"processor", "cores", "commit", "date"})
    quick = " **A quick run: its figures are worth nothing.**" if record["quick"] else ""
    return f"{facts['date']}, commit {facts['commit']}; {facts['cores']} cores, {facts['processor']}; {releases}.{quick}"
