"""CSV and JSON lines as tools write them: every dialect gives the same notes."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from notellm.errors import NoteFileError
from notellm.note import Note
from notellm.note_files import read_note
from tests.notellm.note_files.files import CSV, LINES, A, B, notes, read, write

TABLES = {
    "plain": CSV,
    "gaps of a spreadsheet": "id,title,,\na1,Cold brew,,\na2,Espresso\n,,,\n\n",
    "pandas' index": ",id,title\n0,a1,Cold brew\n1,a2,Espresso\n",
    "pandas' index, written twice": "Unnamed: 0,Unnamed: 0.1,id,title\n0,0,a1,Cold brew\n1,1,a2,Espresso\n".replace(
        "Unnamed: 0.1", ""
    ),
    "empty cells after the last column": "id,title\na1,Cold brew,,\na2,Espresso,\n",
    "a mark before the first column": "\ufeff" + CSV,
    "Windows": CSV.replace("\n", "\r\n"),
    "old Mac": CSV.replace("\n", "\r"),
    "mixed line ends": "id,title\r\na1,Cold brew\na2,Espresso\r\n",
    "blank lines": "\n\n" + CSV.replace("\n", "\n\n"),
    "no line end": CSV.rstrip(),
    "quotes": '"id","title"\n"a1","Cold brew"\n"a2","Espresso"\n',
    "spaces in the header": " id , title\na1,Cold brew\na2,Espresso\n",
    "columns in another order": "title,id\nCold brew,a1\nEspresso,a2\n",
}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("name", TABLES)
def test_csv(name: str, suffix: str, tmp_path: Path) -> None:
    assert notes(write(tmp_path / f"notes{suffix}", TABLES[name])) == [A, B]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(
    "content",
    [
        LINES,
        "\ufeff" + LINES,
        LINES.replace("\n", "\r\n"),
        LINES.replace("\n", "\r"),
        LINES.replace("\n", "\n\n"),
        LINES.rstrip(),
        LINES.replace("}", ', "content": null, "hashtags": null, "category": null, "created_at": null, "version": null}'),
    ],
    ids=["plain", "byte order mark", "Windows", "old Mac", "blank lines", "no line end", "nulls"],
)
def test_json_lines(content: str, suffix: str, tmp_path: Path) -> None:
    """pandas writes the gaps of a table as nulls."""
    assert notes(write(tmp_path / f"notes{suffix}", content)) == [A, B]


def test_cells_with_line_breaks(tmp_path: Path) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerows([["id", "title", "content"], ["a1", "Cold brew", 'one\ntwo, "three"'], ["a2", "Espresso", ""]])
    rows = read(write(tmp_path / "notes.csv", stream.getvalue()))
    assert read_note(rows[0]) == Note(**A, content='one\ntwo, "three"')
    assert [row.place for row in rows] == ["line 3", "line 4"]


def test_a_cell_too_many_is_a_bad_row_and_the_others_are_read(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "notes.csv", "id,title\na1,Cold, brew\na2,Espresso\n"))
    with pytest.raises(ValueError, match="has 3 cells, and the header has 2: put text that contains commas into double quotes"):
        read_note(rows[0])
    assert read_note(rows[1]).id == "a2"


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-20], lambda data: data[:40] + b"\x00\xff" * 40 + data[120:]], ids=["cut", "broken"]
)
@pytest.mark.parametrize("name", ["n.csv.gz", "n.jsonl.gz"])
def test_a_damaged_file_is_an_error_of_its_own(name: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    lines = [json.dumps({"id": f"n{number}", "title": f"{number * 7919}"}) for number in range(5000)]
    text = (
        "id,title\n" + "\n".join(f"n{number},{number * 7919}" for number in range(5000)) if "csv" in name else "\n".join(lines)
    )
    (tmp_path / name).write_bytes(damage(gzip.compress(text.encode())))
    with pytest.raises(NoteFileError, match="cannot be read"):
        read(tmp_path / name)
