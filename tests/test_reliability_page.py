"""docs/results/reliability.md: the numbers in its tables are those of the linked files, rounded to the digits shown."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.processes import ROOT

Json = dict[str, Any]
DOCS = ROOT / "docs"
FILES = DOCS / "results" / "reliability"
PAGE = (DOCS / "results" / "reliability.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[[^]]*\]\([^)]*\)")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
# Limit of the 99th percentile of the time of a search, in milliseconds.
SEARCH_MS = 15
# What `/health/live` may take in the soak, by the 99th percentile, and how many requests a second the service must have had there.
LIVE_MS, LEAST_RATE = 1000, 5
EDGE = ("edge_index.json", "edge_index_optimized.json", "edge_index_million.json")


def read(name: str) -> Json:
    content: Json = json.loads((FILES / name).read_text(encoding="utf-8"))
    return content


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Returns the cells of the rows of all tables."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def assert_shows(cell: str, *values: float) -> None:
    """Asserts that a cell shows these numbers, rounded, and no others. A half may be rounded up or down."""
    texts = NUMBER.findall(LINK.sub("", cell))
    assert len(texts) == len(values), (cell, values)
    for text, value in zip(texts, values, strict=True):
        half = 0.5 * 10.0 ** -len(text.partition(".")[2])
        assert abs(float(text.replace(",", "")) - value) <= half + 1e-9, (cell, values)


def test_the_comparison_notices_another_number() -> None:
    assert_shows("1.000, 2.4; 1,747 MiB [2](x3)", 1.0, 2.35, 1747.2)
    for cell, values in (("198 MiB", [203.0]), ("38, 206", [38.3]), ("1.000", [0.99]), ("", [0.0])):
        with pytest.raises(AssertionError):
            assert_shows(cell, *values)


@pytest.mark.parametrize("name", EDGE)
def test_the_embedded_index(name: str) -> None:
    found = read(name)["index"]
    (row,) = (row for row in rows(section("A larger embedded index")) if f"reliability/{name}" in row[1])
    notes, kind, recall, search, filtered, held, building, disk, memory = row
    query, by_filter, write = (found[call] for call in ("query", "filtered query", "write of 64 notes"))
    assert_shows(notes, found["notes"])
    assert kind.startswith("graph" if "graph" in found else "scan")
    assert_shows(recall, found["recall@10"])
    assert_shows(search, query["call"]["p50"], query["call"]["p99"])
    assert_shows(filtered, found["filtered recall@10"], by_filter["call"]["p50"], by_filter["call"]["p99"])
    assert_shows(held, *(call["stall"][which] for call in (query, write) for which in ("p99", "max")))
    assert_shows(building, *(found["graph"][of] for of in ("build seconds", "build peak MiB") if "graph" in found))
    assert_shows(disk, found["disk MiB"])
    assert_shows(memory, found["memory MiB"]["RssAnon"], found["memory MiB"]["RssFile"])
    assert max(query["call"]["p99"], by_filter["call"]["p99"]) <= SEARCH_MS


def test_what_operations_says_of_it() -> None:
    found = read("edge_index.json")["index"]
    operations = " ".join((DOCS / "operations.md").read_text(encoding="utf-8").split())
    says = re.search(
        r"With (\S+) notes of (\S+) dimensions a search takes (\S+) ms \(p99 (\S+) ms\) on two cores, and the index takes "
        r"(\S+) MiB on disk and (\S+) MiB of memory, besides (\S+) MiB of mapped files",
        operations,
    )
    assert says
    query, memory = found["query"]["call"], found["memory MiB"]
    assert_shows(
        " ".join(says.groups()), found["notes"], found["dimensions"], query["p50"], query["p99"],
        found["disk MiB"], memory["RssAnon"], memory["RssFile"],
    )  # fmt: skip


def test_kills() -> None:
    found, text = read("kills.json"), section("Kills and disks")
    names, numbers = next((names, row) for names, row in zip(rows(text), rows(text)[1:], strict=False) if names[0] == "kills")
    assert len(names) == len(numbers) >= 6
    for name, number in zip(names, numbers, strict=True):
        assert_shows(number, found[name])
    assert found["lost or brought back"] == 0
    assert f"commit {found['machine']['commit']}" in text


def test_the_soak() -> None:
    found, text = read("soak.json"), section("Soak")
    table = rows(text)
    begin = next(number for number, row in enumerate(table) if row[1:] == ["embedded index", "Qdrant's stand-in"])
    services = [found["services"][name] for name in ("embedded", "Qdrant")]
    assert all(service["/health/live outside ends and stops, ms"]["p99"] <= LIVE_MS for service in services)
    assert services[0]["requests"] > LEAST_RATE * found["seconds"]
    ends = [found["faults"][kind] for kind in ("SIGKILL", "SIGTERM")]
    seen = set()
    for label, *cells in table[begin + 1 :]:
        for cell, service, processes in zip(cells, services, (1 + sum(ends), 1), strict=True):
            seen.add(assert_soaked(label, cell, service, processes))
        if label.startswith("processes"):
            assert_shows(label, *ends)
    assert len(seen) == len(table) - begin - 1 >= 9
    assert re.search(rf"\b{found['seconds'] / 60:.0f} minutes at commit {found['machine']['commit']}\b", text)


def assert_soaked(label: str, cell: str, service: Json, processes: int) -> str:
    """Asserts that a cell of the soak test's table shows the service's figures; returns the name of the row."""
    longest = max(service["lives"], key=lambda life: float(life["seconds"]))
    live = service["/health/live outside ends and stops, ms"]
    failures = {status: count for status, count in service["declared failures"].items() if status.startswith("5")}
    expected: dict[str, list[float]] = {
        "requests": [service["requests"]],
        "acknowledged writes": [service["acknowledged writes"]],
        "acknowledged notes lost": [service["lost"]],
        "5xx in declared faults": [number for status in sorted(failures) for number in (failures[status], int(status))],
        "5xx outside them": [service["undeclared failures"]],
        "processes": [processes],
        "anonymous memory": longest["anonymous MiB"],
        "file descriptors": longest["descriptors"],
        "`/health/live`": [live["p50"], live["p99"]],
    }
    (of,) = (name for name in expected if label.startswith(name))
    # Without failures the cell is 0; otherwise the statuses of the undeclared failures follow the number.
    shown = cell.partition(" × ")[0] if of == "5xx outside them" else cell
    assert_shows(shown, *(expected[of] or [0]))
    return of


def test_hostile_input() -> None:
    found, text = read("fuzz.json"), section("Hostile input")
    table = rows(text)
    begin, head = next((number, row) for number, row in enumerate(table) if row[:2] == ["kind", "200"])
    shown = {kind: cells for kind, *cells in table[begin + 1 : begin + 1 + len(found["answers"])]}
    assert shown.keys() == found["answers"].keys()
    for kind, answers in found["answers"].items():
        assert answers.keys() <= set(head[1:]), kind
        for status, cell in zip(head[1:], shown[kind], strict=True):
            assert_shows(cell, answers.get(status, 0))
    assert f"**{found['requests']:,} requests, no 5xx.**" in text
    assert f"commit {found['machine']['commit']}" in text


def test_every_file_is_linked() -> None:
    assert {path.name for path in FILES.iterdir()} == {Path(name).name for name in re.findall(r"\(reliability/([^)]*)\)", PAGE)}
