"""`write_report`: writes the measurements of all sections as one page with plots."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

if TYPE_CHECKING:
    from benchmarks.speed import Section

HEAD = """# Speed

Made by `make bench` (`python -m benchmarks.speed`); [performance](../performance.md) says what is behind the figures. Everything
in a section was measured in one run, on one checkpoint, with the same notes and threads, the ways taking turns; figures are
medians with the least and the most of all rounds. Machines drift: read ratios, not rates.
"""


def write_report(output: Path, sections: Mapping[str, "Section"]) -> Path:
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
