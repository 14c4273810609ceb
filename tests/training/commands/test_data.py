"""`notellm-train validate`, `pairs` and `convert`, and the official files of MicroLens in miniature."""

import gzip
import shutil
from pathlib import Path

import duckdb
import pytest

from notellm import Note
from tests.requirements import MICROLENS
from tests.training.commands.conftest import Command
from training.data import MicroLens, open_events, read_valid_notes
from training.errors import DataError

# In the form of the official files; the captions are made up.
TITLES = """item,title
3,"a fox in the snow # King Glory # kingglory # winter"
4,no hashtags here
5,"tea at home # tea # and now the caption runs on into prose"
6,"# only # tags"
8,"# the whole caption is one long last piece"
10,"# five words are not one # tag # but prose again, # fine"
11,"#  # "
9,"with category of its own #"
"""
CATEGORIES = "video_id, tag\n3,Animal\n4,yszp\n5, Food \n9,Food\n77,Music\n"
PAIRS = "1\t3 5 3\n2\t11 4 9\n"

# u and v open a then b; w opens b alone.
NOTES = '{"id": "a", "title": "A", "category": "x"}\n{"id": "b", "content": "B #tag"}\n{"id": "c", "hashtags": ["z"], "category": "x"}\n'
EVENTS = """user,note,time
u,a,2026-01-01T00:00:00Z
u,b,2026-01-01T01:00:00Z
v,a,2026-01-02T00:00:00Z
v,b,2026-01-03T12:30:00Z
w,b,1767225600
"""


@pytest.fixture
def files(tmp_path: Path) -> list[object]:
    """Options that name the two files."""
    (tmp_path / "notes.jsonl").write_text(NOTES, encoding="utf-8")
    (tmp_path / "events.csv").write_text(EVENTS, encoding="utf-8")
    return ["--notes", tmp_path / "notes.jsonl", "--events", tmp_path / "events.csv"]


@pytest.fixture
def microlens(tmp_path: Path) -> Path:
    folder = tmp_path / "official"
    folder.mkdir()
    for name, content in (("Tiny_pairs.tsv", PAIRS), ("Tiny_titles.csv", TITLES), ("Tiny_tags_to_summary.csv", CATEGORIES)):
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def facts(lines: list[str]) -> dict[str, str]:
    width = len(lines[0]) - len(lines[0].split()[-1])
    return {line[:width].strip(): line[width:] for line in lines}


def test_validate_says_what_is_in_the_files(command: Command, files: list[object]) -> None:
    code, out, err = command("validate", *files)
    assert (code, err) == (0, [])
    assert facts(out) == {
        "notes": "3",
        "with hashtags": "2",
        "with a category": "2",
        "categories": "1",
        "events": "5",
        "users": "3",
        "notes with events": "2",
        "period": "2026-01-01 00:00 to 2026-01-03 12:30 UTC",
    }


def test_validate_counts_what_was_dropped(command: Command, files: list[object], tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text(NOTES + '{"id": "a", "title": "again"}\n{"id": "d"}\n', encoding="utf-8")
    rows = ("u,a,1", "u,b,soon", "v,a,", "v,b,2026-01-01", "v,zz,1")
    (tmp_path / "events.csv").write_text("\n".join(("user,note,position", *rows)), encoding="utf-8")
    code, out, err = command("validate", *files)
    assert (code, out) == (1, [])
    (line,) = err
    assert line.startswith(
        f"notellm-train: {tmp_path / 'notes.jsonl'}: 2 invalid rows. line 4: id a is already in line 1. line 5, note:"
    )
    code, out, _ = command("validate", *files, "--drop-invalid")
    assert code == 0
    read = facts(out)
    assert (read["notes"], read["events"], read["period"]) == ("3", "1", "order only")
    assert {name: count for name, count in read.items() if name.startswith("dropped")} == {
        "dropped: duplicate id": "1",
        "dropped: note: value_error": "1",
        "dropped: no readable time (1970 to 2200) or position": "3",
        "dropped: unknown note": "1",
    }


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_pairs_are_written(command: Command, files: list[object], suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"pairs.{suffix}"
    code, out, err = command("pairs", *files, "--output", output)
    assert (code, err) == (0, [])
    assert out == [f"{output}: 1 related pairs from 5 events of 3 users"]
    rows = duckdb.connect().execute(f"select source, target, score from '{output}'").fetchall()
    assert rows == [("a", "b", 1.0)]


def test_options_of_pairs_are_settings(command: Command, files: list[object], tmp_path: Path) -> None:
    log = "user,note,event,time\nu,a,view,1\nu,b,click,2\nu,c,click,3\nu,a,share,9000\nv,a,view,1\nv,b,click,5\n"
    (tmp_path / "events.csv").write_text(log, encoding="utf-8")

    def pairs(*options: object) -> set[tuple[str, str]]:
        output = tmp_path / "pairs.csv"
        assert command("pairs", *files, "--output", output, *options)[0] == 0
        return set(duckdb.connect().execute(f"select source, target from '{output}'").fetchall())

    every = {("a", "b"), ("a", "c"), ("b", "c"), ("b", "a"), ("c", "a")}
    assert pairs() == every
    assert pairs("--view-event", "view", "--click-event", "click") == {("a", "b"), ("a", "c")}
    assert pairs("--view-event", "view", "--view-event", "click", "--click-event", "share") == {("b", "a"), ("c", "a")}
    assert pairs("--window-hours", 1) == every - {("b", "a"), ("c", "a")}
    assert pairs("--successors", 1) == {("a", "b"), ("b", "c"), ("c", "a")}
    assert pairs("--min-users", 2) == {("a", "b")}
    assert pairs("--min-score", 0.5) == {("a", "b")}
    assert pairs("--max-score", 0.5) == every - {("a", "b")}
    assert pairs("--per-note", 1) == {("a", "b"), ("b", "a"), ("c", "a")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-score", 40], "Value error, min_score 40.0 is above max_score 30.0: every pair would be dropped"),
        (["--per-note", 0], "--per-note: Input should be greater than or equal to 1"),
        (["--window-hours", 0], "--window-hours: Input should be greater than 0"),
        (["--min-users", 9], "the 5 events of {folder}/events.csv give no related pair: lower --min-users or --min-score"),
        (["--output", "pairs.txt"], "--output pairs.txt: give a .parquet or .csv file in an existing directory"),
        (
            ["--output", "nowhere/pairs.csv"],
            "--output nowhere/pairs.csv: give a .parquet or .csv file in an existing directory",
        ),
        (["--events", "missing.csv"], "missing.csv is missing"),
        (["--notes", "missing.parquet"], "missing.parquet is missing"),
    ],
)
def test_what_pairs_cannot_do_is_one_line(
    command: Command, files: list[object], options: list[object], message: str, tmp_path: Path
) -> None:
    code, out, err = command("pairs", *files, "--output", tmp_path / "pairs.csv", *options)
    assert (code, out) == (1, [])
    assert err == [f"notellm-train: {message.format(folder=tmp_path)}"]
    assert not (tmp_path / "pairs.csv").exists()


def test_a_window_needs_times(command: Command, files: list[object], tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,note,position\nu,a,1\nu,b,2\n", encoding="utf-8")
    code, _, err = command("pairs", *files, "--output", tmp_path / "pairs.csv", "--window-hours", 1)
    assert code == 1
    assert err == [f"notellm-train: {tmp_path / 'events.csv'} has positions but no times: remove --window-hours"]


def test_captions_become_notes(microlens: Path) -> None:
    assert [*MicroLens(microlens).notes()] == [
        Note(id="3", content="a fox in the snow", hashtags=("King Glory", "winter"), category="Animal"),  # variants are one
        Note(id="4", content="no hashtags here"),  # its category is a stray
        Note(id="5", content="tea at home and now the caption runs on into prose", hashtags=("tea",), category="Food"),
        Note(id="6", hashtags=("only", "tags")),
        Note(id="8", content="the whole caption is one long last piece"),
        Note(id="10", content="five words are not one", hashtags=("tag", "but prose again,", "fine")),
        Note(id="9", content="with category of its own", category="Food"),
    ]  # nothing is left of 11


def test_histories_become_positions(microlens: Path) -> None:
    expected = [("1", "3", 0), ("1", "5", 1), ("1", "3", 2), ("2", "11", 0), ("2", "4", 1), ("2", "9", 2)]
    assert [*MicroLens(microlens).events()] == expected


def test_converted_microlens_is_valid(command: Command, microlens: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "here"
    code, out, err = command("convert", "microlens", microlens, output)
    assert (code, out, err) == (0, [f"{output}: 7 notes, 5 events"], [])
    converted = gzip.decompress((output / "events.csv.gz").read_bytes()).decode()
    assert converted == "user,note,position\n1,3,0\n1,5,1\n1,3,2\n2,4,1\n2,9,2\n"  # without 11, of which nothing is left
    code, out, _ = command("validate", "--notes", output / "notes.jsonl.gz", "--events", output / "events.csv.gz")
    assert (code, facts(out)["period"]) == (0, "order only")
    before = [path.read_bytes() for path in sorted(output.iterdir())]
    command("convert", "microlens", microlens, output)
    assert [path.read_bytes() for path in sorted(output.iterdir())] == before


def test_converted_stack_exchange_is_valid(command: Command, tmp_path: Path) -> None:
    site = tmp_path / "dumps" / "tea"
    site.mkdir(parents=True)
    date = 'CreationDate="2020-01-01T00:00:00.000"'
    question = (
        f'<row Id="1" PostTypeId="1" {date} Body="&lt;p&gt;hot&lt;/p&gt;" OwnerUserId="4" Title="Tea?" Tags="&lt;green&gt;" />'
    )
    answer = f'<row Id="2" PostTypeId="2" ParentId="1" {date} Body="yes" OwnerUserId="8" />'
    (site / "Posts.xml").write_text(f"<posts>{question}{answer}</posts>", encoding="utf-8")
    output = tmp_path / "converted"
    code, out, _ = command("convert", "stackexchange", tmp_path / "dumps", output)
    assert (code, out) == (0, [f"{output}: 1 notes, 2 events"])
    notes, _ = read_valid_notes(output / "notes.jsonl.gz")
    assert notes["tea-1"].model_dump(include={"title", "content", "hashtags", "category"}) == {
        "title": "Tea?",
        "content": "hot",
        "hashtags": ("green",),
        "category": "tea",
    }
    assert open_events(output / "events.csv.gz", notes).exposure() == {"tea-1": 2}


@pytest.mark.parametrize(
    ("source", "folder", "message"),
    [
        ("microlens", "missing", "{folder} is not a directory"),
        ("stackexchange", "missing", "{folder} is not a directory"),
        ("microlens", ".", "{folder} has no *_pairs.tsv: unpack the official files of MicroLens into it"),
        ("stackexchange", ".", "{folder} has no folder with a Posts.xml: unpack the data dumps into it, one folder per site"),
    ],
)
def test_what_cannot_be_converted_is_one_line(command: Command, source: str, folder: str, message: str, tmp_path: Path) -> None:
    code, out, err = command("convert", source, tmp_path / folder, tmp_path / "output")
    assert (code, out) == (1, [])
    assert err == [f"notellm-train: {message.format(folder=tmp_path / folder)}"]


@pytest.mark.parametrize("pattern", ["*_pairs.tsv", "*_titles.csv", "*_tags_to_summary.csv"])
def test_each_official_file_is_needed(pattern: str, microlens: Path, tmp_path: Path) -> None:
    shutil.copytree(microlens, tmp_path / "copy")
    next((tmp_path / "copy").glob(pattern)).unlink()
    with pytest.raises(DataError, match=pattern.replace("*", r"\*")):
        MicroLens(tmp_path / "copy")


def test_a_titles_file_of_another_kind_is_refused(microlens: Path) -> None:
    (microlens / "Tiny_titles.csv").write_text("video,caption\n3,x\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no columns item and title: use the official file"):
        list(MicroLens(microlens).notes())


@pytest.mark.needs("microlens")
def test_totals_of_microlens_50k() -> None:
    official = MicroLens(MICROLENS)
    notes = {note.id: note for note in official.notes()}
    assert len(notes) == 16_337
    assert sum(note in notes for _, note, _ in official.events()) == 304_261
