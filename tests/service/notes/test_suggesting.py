"""Hashtags of stored notes as evidence, over HTTP."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from notellm import Checkpoint
from notellm.evidence import EvidenceWeights
from service.errors import IndexUnavailable, QueueFull
from service.http import create_app
from service.index import EdgeIndex
from service.notes import suggestions
from service.queueing import SearchLimit
from service.serving import open_service
from service.settings import Settings
from tests.service.calls import Json
from tests.service.notes.tagging import ASKED, KNOWN, STORED, VOTES, Open, tagged


@pytest.fixture(autouse=True)
def few_notes_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestions, "LEAST_STORED", 1)


async def suggest(client: httpx.AsyncClient, *notes: Json, **options: object) -> list[list[Json]]:
    return [note["hashtags"] for note in await tagged(client, list(notes), category=False, **options)]


async def test_hashtags_of_the_nearest_notes_count(weighed: Open, weighing: Checkpoint) -> None:
    assert Checkpoint.open(weighing.path).manifest.hashtag_evidence == VOTES
    async with weighed(STORED) as client:
        (tags,) = await suggest(client, ASKED, count=10)
        assert tags[0]["hashtag"] == "qubits"
        assert {tag["hashtag"] for tag in tags} == {"qubits", "physics", *KNOWN}
        sources = {tag["hashtag"]: tag["sources"] for tag in tags}
        assert sources["beer"] == ["model", "neighbours"]
        assert sources["hops"] == ["model"]
        confidences = [tag["confidence"] for tag in tags]
        assert confidences == sorted(confidences, reverse=True)
        assert tags[-1]["confidence"] == pytest.approx(0.1192, abs=1e-4)  # the logistic function of -2: no vote


async def test_a_note_with_hashtags_gets_others_and_as_many_as_wanted(weighed: Open) -> None:
    async with weighed(STORED) as client:
        first, second = await suggest(client, ASKED, ASKED | {"hashtags": ["Qubits", "#beer"]}, count=2)
        assert first[0]["hashtag"] == "qubits"
        assert len(first) == len(second) == 2
        assert not {"qubits", "beer"} & {tag["hashtag"] for tag in second}


async def test_the_block_list_rules_over_neighbours(weighed: Open, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked.txt"
    blocked.write_text("QUBITS\n", encoding="utf-8")
    async with weighed(STORED, hashtag_blocklist=blocked) as client:
        (tags,) = await suggest(client, ASKED, count=10)
        assert "qubits" not in {tag["hashtag"] for tag in tags}
        assert len(tags) == len(KNOWN) + 1


async def test_hashtags_that_too_few_notes_have_are_not_suggested(weighed: Open) -> None:
    async with weighed(STORED, hashtag_min_uses=2) as client:
        (tags,) = await suggest(client, ASKED, count=10)
        assert {tag["hashtag"] for tag in tags} == {"qubits", *KNOWN}


async def test_an_unlikely_hashtag_is_dropped_by_its_probability(weighed: Open) -> None:
    async with weighed(STORED, hashtag_min_confidence=0.12) as client:
        (tags,) = await suggest(client, ASKED, count=10)
        assert all("neighbours" in tag["sources"] for tag in tags)


async def test_reposts_of_the_note_have_one_vote_together(weighed: Open) -> None:
    told = []
    for reposts in (1, 21):
        again = [{"id": f"r{number}", "title": "Noisy qubits", "hashtags": ["spam"]} for number in range(reposts)]
        async with weighed([STORED[1] | {"title": "Noisy gates"}, *again]) as client:
            (tags,) = await suggest(client, ASKED, count=10)
        told.append({tag["hashtag"]: tag["confidence"] for tag in tags})
    assert told[1] == pytest.approx(told[0], abs=1e-6)
    assert told[0]["qubits"] > told[0]["hops"]


async def test_neither_a_copy_of_the_note_nor_notes_without_hashtags_take_votes(weighed: Open) -> None:
    asked = ASKED | {"hashtags": ["spam"]}
    told = []
    for more in ([], [{"id": "copy"} | asked, {"id": "bare"} | ASKED]):
        async with weighed([*STORED, *more]) as client:
            (tags,) = await suggest(client, asked, count=10)
        told.append({tag["hashtag"]: tag["confidence"] for tag in tags})
    assert told[1] == pytest.approx(told[0], abs=1e-6)


@pytest.mark.parametrize("case", ["empty", "few", "untagged", "failing", "busy"])
async def test_without_neighbours_the_model_answers_as_ever(
    case: str, weighed: Open, settings_for: Callable[..., Settings], knowing: Checkpoint, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plain = settings_for(checkpoint=knowing.path, data_dir=tmp_path / "plain")
    async with open_service(plain) as runtime:
        transport = httpx.ASGITransport(create_app(runtime, plain))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            (expected,) = await suggest(client, ASKED, count=3)

    async def failing(*_arguments: object, **_options: object) -> Any:
        raise IndexUnavailable("as the test wants it")

    def full(_limit: SearchLimit) -> Any:
        raise QueueFull("as the test wants it", retry_after=1)

    known = [{"id": f"k{number}", "title": f"x {number}", "hashtags": [tag]} for number, tag in enumerate(KNOWN)]
    if case == "few":
        monkeypatch.setattr(suggestions, "LEAST_STORED", len(known) + 1)
    stored = {"empty": [], "untagged": [{"id": "bare", "title": "Noisy qubits"}]}.get(case, known)
    async with weighed(stored, max_searches=1) as client:
        if case == "failing":
            monkeypatch.setattr(EdgeIndex, "search", failing)
        if case == "busy":
            monkeypatch.setattr(SearchLimit, "place", full)
        (tags,) = await suggest(client, ASKED, count=3)
    assert [(tag["hashtag"], tag["sources"]) for tag in tags] == [(tag["hashtag"], ["model"]) for tag in expected]
    assert [tag["confidence"] for tag in tags] == pytest.approx([tag["confidence"] for tag in expected], abs=1e-5)


async def test_an_old_checkpoint_asks_only_the_model(weighed: Open, knowing: Checkpoint) -> None:
    async with weighed(STORED, checkpoint=knowing.path) as client:
        (tags,) = await suggest(client, ASKED, count=10)
        assert {source for tag in tags for source in tag["sources"]} == {"model"}
        assert {tag["hashtag"] for tag in tags} == {"qubits", "physics", *KNOWN}


async def test_what_is_in_use_now_comes_first(opened: Open, weigh: Callable[[EvidenceWeights], Checkpoint]) -> None:
    """Where only how common a hashtag is counts."""
    common = weigh(EvidenceWeights(temperature=0.1, intercept=0, weights=(0, 0, 0, 0, 1.0, 0)))
    now = datetime.now(UTC)
    stored = [
        {"id": f"o{n}", "title": f"old {n}", "hashtags": ["beer"], "created_at": "2020-01-01T00:00:00Z"} for n in range(40)
    ]
    stored += [{"id": f"n{n}", "title": f"new {n}", "hashtags": ["hops"], "created_at": now.isoformat()} for n in range(30)]
    for days, first in ((None, "beer"), (7, "hops")):
        async with opened(stored, checkpoint=common.path, hashtag_recent_days=days) as client:
            (tags,) = await suggest(client, ASKED, count=2)
        assert tags[0]["hashtag"] == first
