"""A service from its start to its end."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from notellm import Note
from notellm.errors import CheckpointError
from service.errors import ShuttingDown, StartupError
from service.index import EdgeIndex
from service.serving.runtime import Runtime, open_service
from service.settings import Settings
from tests.service.calls import NOTES, embed
from tests.service.serving.migrating import change, reach, start

Make = Callable[..., Settings]


async def test_stored_notes_survive_a_restart(settings_for: Make) -> None:
    notes = [Note.model_validate(note) for note in NOTES]
    async with open_service(settings_for()) as first:
        stored = await first.served.notes.store(notes)
    async with open_service(settings_for()) as second:
        again = await second.served.notes.store(notes)
    assert {result.status for result in again} == {"unchanged"}
    for before, after in zip(stored, again, strict=True):
        assert before.vector is not None
        assert after.vector is not None
        np.testing.assert_allclose(before.vector, after.vector, atol=1e-6)


async def test_leaving_finishes_accepted_work(settings_for: Make) -> None:
    async with open_service(settings_for()) as running:
        waiting = asyncio.create_task(running.served.notes.embed_texts([Note.model_validate(note) for note in NOTES]))
        await asyncio.sleep(0)
        while not running.metrics.queue_tokens.labels("embed")._value.get() and not waiting.done():
            await asyncio.sleep(0.001)
    assert len(await waiting) == len(NOTES)
    with pytest.raises(ShuttingDown):
        await running.served.notes.embed_texts([Note.model_validate(NOTES[0])])


async def test_a_start_tells_what_it_serves(settings_for: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "service.serving.runtime"):
        async with open_service(settings_for()) as running:
            pass
    (record,) = (record for record in caplog.records if record.message == "ready")
    told = vars(record)
    assert (told["model"], told["index"]) == ("tiny", running.index.name) == ("tiny", "qdrant-edge")
    assert told["fingerprint"] == running.served.checkpoint.fingerprint
    assert told["hashtags"] == running.served.suggestions.vocabulary_size


async def test_what_it_shows_is_of_the_model_that_answers(runtime: Runtime, client: httpx.AsyncClient, next_path: Path) -> None:
    assert runtime.engine.name == "local"
    engine, archive, liveness = runtime.engine, runtime.archive, runtime.liveness
    await embed(client, NOTES[:1])
    await start(client, next_path)
    await reach(client, "filled")
    assert (runtime.engine, runtime.archive, runtime.liveness) == (engine, archive, liveness)
    await change(client, "switch")
    assert runtime.engine is runtime.served.engine is not engine
    assert runtime.archive is runtime.served.archive is not archive
    assert runtime.liveness is runtime.served.liveness is not liveness


async def test_a_start_that_fails_leaves_nothing_open(settings_for: Make, tmp_path: Path) -> None:
    for wrong, error in (
        ({"checkpoint": tmp_path / "none"}, CheckpointError),
        ({"hashtag_blocklist": tmp_path / "missing.txt"}, StartupError),
        ({"engine": "remote", "remote_url": "http://127.0.0.1:1"}, StartupError),
    ):
        with pytest.raises(error):
            async with open_service(settings_for(**wrong)):
                pass
    async with open_service(settings_for()) as running:
        assert isinstance(running.index, EdgeIndex), "its lock was given back"


async def test_a_block_list_that_cannot_be_read_ends_the_start(settings_for: Make, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"NOTELLM_HASHTAG_BLOCKLIST: .*missing.txt cannot be read"):
        async with open_service(settings_for(hashtag_blocklist=tmp_path / "missing.txt")):
            pass
