import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from notellm import Note
from training.config import TrainingConfig
from training.data import load_dataset
from training.data.notes import fingerprint, read_notes, write_notes
from training.data.stackexchange import Attribution, Event, StackExchangeSite, html_to_text
from training.errors import DataError

POSTS = """<?xml version="1.0" encoding="utf-8"?>
<posts>
  <row Id="1" PostTypeId="1" CreationDate="2015-01-27T20:09:32.720"
    Body="&lt;p&gt;Is &amp;lt; 5&amp;#176;C &lt;b&gt;ok&lt;/b&gt;?&lt;/p&gt;
&lt;pre&gt;&lt;code&gt;#include &amp;lt;x&amp;gt;&lt;/code&gt;&lt;/pre&gt;"
    OwnerUserId="4" Title="How to store &quot;beans&quot;?" Tags="&lt;storage&gt;&lt;whole-bean&gt;" />
  <row Id="2" PostTypeId="2" ParentId="1" CreationDate="2015-01-28T00:00:00.000" Body="x" OwnerUserId="8" />
  <row Id="3" PostTypeId="2" ParentId="99" CreationDate="2015-01-28T00:00:00.000" Body="orphan" OwnerUserId="8" />
  <row Id="4" PostTypeId="1" CreationDate="2015-02-01T00:00:00.000" Body="no owner" OwnerDisplayName="Ann" Title="T" Tags="|a|b|" />
  <row Id="5" PostTypeId="4" CreationDate="2015-02-01T00:00:00.000" Body="tag wiki" />
</posts>"""
COMMENTS = """<comments><row Id="1" PostId="2" UserId="9" CreationDate="2015-01-29T00:00:00.000" />
<row Id="2" PostId="99" UserId="9" CreationDate="2015-01-29T00:00:00.000" />
<row Id="3" PostId="1" CreationDate="2015-01-29T00:00:00.000" />
<row Id="4" PostId="1" UserId="-1" CreationDate="2015-01-29T00:00:00.000" /></comments>"""
VOTES = """<votes><row Id="1" PostId="1" VoteTypeId="2" CreationDate="2015-01-28T00:00:00.000" />
<row Id="2" PostId="1" VoteTypeId="5" UserId="7" CreationDate="2015-01-27T00:00:00.000" /></votes>"""

LINKS = """<postlinks><row Id="7" PostId="2" RelatedPostId="4" LinkTypeId="1" CreationDate="2015-02-02T00:00:00.000" />
<row Id="8" PostId="1" RelatedPostId="99" LinkTypeId="1" CreationDate="2015-02-02T00:00:00.000" />
<row Id="9" PostId="2" RelatedPostId="1" LinkTypeId="1" CreationDate="2015-02-02T00:00:00.000" /></postlinks>"""


@pytest.fixture
def site(tmp_path: Path) -> StackExchangeSite:
    folder = tmp_path / "coffee"
    folder.mkdir()
    for name, content in (("Posts", POSTS), ("Comments", COMMENTS), ("Votes", VOTES), ("PostLinks", LINKS)):
        (folder / f"{name}.xml").write_text(content, encoding="utf-8")
    (folder / "users_min.tsv").write_text('Id\tAccountId\tDisplayName\n4\t17\tBo "the" Bean\n', encoding="utf-8")
    return StackExchangeSite(folder)


def test_questions_become_notes(site: StackExchangeSite) -> None:
    first, second = site.notes()
    assert (first.id, first.title, first.category) == ("coffee-1", 'How to store "beans"?', "coffee")
    assert first.content == "Is < 5°C ok?"
    assert first.hashtags == ("storage", "whole-bean")
    assert first.created_at == datetime(2015, 1, 27, 20, 9, 32, 720_000, tzinfo=UTC)
    assert (second.id, second.hashtags) == ("coffee-4", ("a", "b"))


def test_every_note_is_attributed(site: StackExchangeSite) -> None:
    base = "https://coffee.stackexchange.com"
    assert list(site.attributions()) == [
        Attribution("coffee-1", f"{base}/questions/1", 'Bo "the" Bean', f"{base}/users/4"),
        Attribution("coffee-4", f"{base}/questions/4", "Ann", base),
    ]


def test_behaviour_is_ordered_and_belongs_to_questions(site: StackExchangeSite) -> None:
    def event(user: int, what: str, *when: int) -> Event:
        return Event(f"coffee-{user}", "coffee-1", what, datetime(*when, tzinfo=UTC))  # type: ignore[misc, arg-type]

    assert list(site.events()) == [
        event(7, "favourite", 2015, 1, 27),
        event(4, "ask", 2015, 1, 27, 20, 9, 32, 720_000),
        event(8, "answer", 2015, 1, 28),
        event(9, "comment", 2015, 1, 29),
        # Link 7 is from an answer to question 1. Link 8 leads out of the dump, and link 9 from a question to itself.
        Event("coffee-link-7", "coffee-1", "link", datetime(2015, 2, 2, tzinfo=UTC)),
        Event("coffee-link-7", "coffee-4", "link", datetime(2015, 2, 2, tzinfo=UTC)),
    ]


@pytest.mark.parametrize(
    ("posts", "message"),
    [
        (POSTS.replace("</posts>", ""), "Posts.xml cannot be read: no element found"),
        (POSTS.replace(' Tags="|a|b|"', ""), "Posts.xml, row 4: Tags is missing"),
        (POSTS.replace(' PostTypeId="4"', ""), "Posts.xml, row 5: PostTypeId is missing"),
        (POSTS.replace("2015-02-01T", "yesterday"), "row 4: CreationDate 'yesterday00:00:00.000' is not an ISO 8601 time"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><posts>&a;</posts>', "Posts.xml cannot be read: EntitiesForbidden"),
        (None, "Posts.xml cannot be read"),
    ],
)
def test_a_broken_dump_is_refused(posts: str | None, message: str, tmp_path: Path) -> None:
    if posts is not None:
        (tmp_path / "Posts.xml").write_text(posts, encoding="utf-8")
    with pytest.raises(DataError) as refused:
        StackExchangeSite(tmp_path)
    assert message in str(refused.value)


def test_html_that_looks_like_an_address() -> None:
    assert html_to_text("https://example.org") == "https://example.org"


def test_notes_files_are_read_back_and_the_same_bytes(tmp_path: Path) -> None:
    notes = [Note(id="a", title="t"), Note(id="b", content="你好", created_at=datetime(2026, 1, 1, tzinfo=UTC))]
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        write_notes(tmp_path / name, notes)
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()
    assert list(read_notes(tmp_path / "one.jsonl.gz")) == notes
    (tmp_path / "plain.jsonl").write_bytes(gzip.decompress((tmp_path / "one.jsonl.gz").read_bytes()) + b"\n\n")
    assert list(read_notes(tmp_path / "plain.jsonl")) == notes
    assert fingerprint(notes) != fingerprint(notes[:1]) == fingerprint([notes[0]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "a", "title": "t"}\n{"id": "b", "title": 1}', "line 2, title: Input should be a valid string"),
        ('{"id": "a", "title": "t"}\n{"id": "a", "title": "u"}', "line 2: id a is already in line 1"),
        ('{"id": "a"}', "line 1, note: a note needs"),
        ("not json", "line 1: Invalid JSON: expected ident at column 2"),
    ],
)
def test_a_wrong_line_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        list(read_notes(tmp_path / "notes.jsonl"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a", "title": "t"}\n')[:-9])
    for name, message in (("cut.jsonl.gz", "cannot be read"), ("missing.jsonl", "is missing")):
        with pytest.raises(DataError, match=message):
            list(read_notes(tmp_path / name))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"notes\.xlsx is not a file of notes: its name must end in \.jsonl, \.csv"):
        list(read_notes(tmp_path / "notes.xlsx"))


def test_cooccurrences_are_pairs_that_stand_once(run_config: Callable[..., TrainingConfig]) -> None:
    dataset = load_dataset(run_config().data)
    for part in ("train", "validation"):
        assert dataset.pairs_of(part, "related") == dataset.pairs[part]
        known, found = dataset.pairs_of(part, "cooccurrences"), dataset.cooccurrences[part]
        assert [pair.score for pair in known] == sorted(found.score.tolist(), reverse=True)
        both = {frozenset((pair.source, pair.target)) for pair in known}
        assert len(both) == len(known) == len(found)
        assert {frozenset((pair.source, pair.target)) for pair in dataset.pairs[part]} <= both
        best = known[0]
        assert found.among([best.source, best.target])[0, 1] == best.score
