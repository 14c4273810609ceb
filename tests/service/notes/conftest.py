"""Checkpoints with a hashtag vocabulary, and services that serve them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from notellm import Checkpoint, PromptSettings
from notellm.evidence import EvidenceWeights
from notellm.saving import CheckpointFacts, save_checkpoint
from service.http import create_app
from service.serving import open_service
from service.settings import Settings
from tests.service.calls import Json, embed
from tests.service.notes.tagging import VOTES, Open, make_knowing


@pytest.fixture(scope="session")
def knowing(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Checkpoint:
    """A checkpoint with a hashtag vocabulary."""
    return make_knowing(tmp_path_factory.mktemp("plain") / "knowing", tiny_base, PromptSettings())


@pytest.fixture(scope="session")
def weigh(tmp_path_factory: pytest.TempPathFactory, knowing: Checkpoint) -> Callable[[EvidenceWeights], Checkpoint]:
    """Makes checkpoints of the same model that say how much stored notes count."""

    def weigh(weights: EvidenceWeights) -> Checkpoint:
        listed = knowing.manifest
        facts = CheckpointFacts(
            name=listed.name,
            base_model=listed.base_model,
            prompt=listed.prompt,
            emb_token=listed.emb_token,
            categories=listed.categories,
            hashtag_vocabulary=listed.hashtag_vocabulary,
            hashtag_evidence=weights,
        )
        path = tmp_path_factory.mktemp("weighing") / "checkpoint"
        return save_checkpoint(path, knowing.load_model(), knowing.tokenizer, facts)

    return weigh


@pytest.fixture(scope="session")
def weighing(weigh: Callable[[EvidenceWeights], Checkpoint]) -> Checkpoint:
    """A checkpoint for which neighbours count."""
    return weigh(VOTES)


@pytest.fixture
def opened(settings_for: Callable[..., Settings], knowing: Checkpoint) -> Open:
    """Opens a service whose index holds some notes, and gives a client of it."""

    @asynccontextmanager
    async def opened(stored: list[Json] | None = None, **changes: object) -> AsyncIterator[httpx.AsyncClient]:
        settings = settings_for(**{"checkpoint": knowing.path} | changes)
        # A start counts what an earlier one has stored.
        for notes in (stored, None) if stored else (None,):
            async with open_service(settings) as runtime:
                transport = httpx.ASGITransport(create_app(runtime, settings))
                async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                    if notes:
                        await embed(client, notes, vectors=False)
                    else:
                        yield client

    return opened


@pytest.fixture
def weighed(opened: Open, weighing: Checkpoint) -> Open:
    """The same with a checkpoint for which neighbours count."""
    return partial(opened, checkpoint=weighing.path, hashtag_min_uses=1)
