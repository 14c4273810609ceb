"""Hashtags that nobody expects: in the checkpoint's list, on stored notes, in other scripts, and by the ten thousand."""

import json
import shutil
from pathlib import Path

import pytest

from notellm import Checkpoint, CheckpointError
from notellm.checkpoint import manifest_digest
from service.notes import suggestions
from tests.service.calls import Json, embed
from tests.service.notes.tagging import ASKED, KNOWN, STORED, Open, tagged


@pytest.fixture(autouse=True)
def few_notes_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestions, "LEAST_STORED", 1)


def with_vocabulary(checkpoint: Checkpoint, place: Path, vocabulary: object) -> Path:
    """A copy of the checkpoint whose manifest lists other hashtags."""
    shutil.copytree(checkpoint.path, place)
    manifest = place / "notellm.json"
    content = json.loads(manifest.read_text(encoding="utf-8")) | {"hashtag_vocabulary": vocabulary}
    manifest.write_text(json.dumps(content | {"digest": manifest_digest(content)}), encoding="utf-8")
    return place


@pytest.mark.parametrize("broken", ["coffee", {"coffee": 1}, ["coffee", 7], ["coffee", None], [["coffee"]], 3])
async def test_a_list_that_is_broken_stops_the_start_and_is_named(
    broken: object, opened: Open, knowing: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"notellm\.json.*hashtag_vocabulary"):
        async with opened(checkpoint=with_vocabulary(knowing, tmp_path / "broken", broken)):
            pass


async def test_entries_that_are_no_hashtags_are_passed_over(weighed: Open, weighing: Checkpoint, tmp_path: Path) -> None:
    listed = ["", " ", "#", "!!!", "\u200b", "a\nb", "x" * 500, "</s>", "Coffee", "coffee", "#COFFEE", "coffee"]
    place = with_vocabulary(weighing, tmp_path / "strange", listed)
    async with weighed(STORED, checkpoint=place, verify_checkpoint="size") as client:
        (answer,) = await tagged(client, [ASKED], count=10)
        found = [tag["hashtag"] for tag in answer["hashtags"]]
        assert {tag.casefold() for tag in found} >= {"coffee", "qubits"}
        assert len({tag.casefold() for tag in found}) == len(found)
        assert all(tag.strip("# !\u200b\n") and len(tag) <= 40 for tag in found)


async def test_an_index_in_another_language(weighed: Open) -> None:
    stored: list[Json] = [
        {"id": f"zh{n}", "title": "周末在家做冷萃咖啡", "content": f"冷水浸泡十二小时 {n}", "hashtags": ["冷萃", "咖啡"]}
        for n in range(20)
    ]
    async with weighed(stored) as client:
        english, chinese = await tagged(client, [ASKED, {"title": "冷萃咖啡怎么做"}], count=10)
        for answer in (english, chinese):
            assert {tag["hashtag"] for tag in answer["hashtags"]} == {*KNOWN, "冷萃", "咖啡"}
        (together,) = await embed(client, [ASKED | {"id": "new"}], suggest={"count": 3})
        assert len(together["suggestions"]["hashtags"]) == 3


async def test_fifty_thousand_hashtags_on_the_nearest_notes(weighed: Open) -> None:
    stored: list[Json] = [
        {"id": f"n{note}", "title": f"Noisy qubits {note}", "hashtags": [f"tag {note} {number}" for number in range(100)]}
        for note in range(500)
    ]
    parts = [stored[start : start + 100] for start in range(0, 500, 100)]
    async with weighed(hashtag_refresh_seconds=86_400) as client:
        for part in parts:
            await embed(client, part, vectors=False)
    async with weighed(hashtag_vocabulary=2_000) as client:
        (answer,) = await tagged(client, [ASKED], count=10)
        tags = [tag["hashtag"] for tag in answer["hashtags"]]
        assert len(tags) == len(set(tags)) == 10
