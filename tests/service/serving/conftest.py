"""Models that are loaded for real, over an embedded index."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from notellm import Checkpoint
from notellm.checkpoint import vector_name_of
from notellm.hashtags import HashtagRules
from service.index import EdgeIndex, ModelVectors
from service.notes import LiveHashtags
from service.observability import Metrics
from service.serving.loaded_model import ModelLoader
from service.serving.served import ModelOpener
from service.settings import Settings


def vectors_of(path: Path) -> ModelVectors:
    """How an index names the model of a checkpoint."""
    checkpoint = Checkpoint.open(path)
    return ModelVectors(vector=vector_name_of(checkpoint), dimensions=checkpoint.manifest.dimensions, checkpoint=str(path))


@pytest.fixture
def source(tiny_path: Path) -> ModelVectors:
    """The model of the settings."""
    return vectors_of(tiny_path)


@pytest.fixture
def target(next_path: Path) -> ModelVectors:
    """Another model."""
    return vectors_of(next_path)


@pytest_asyncio.fixture
async def edge(tmp_path: Path, source: ModelVectors) -> AsyncIterator[EdgeIndex]:
    """An empty index for the model of the settings."""
    opened = EdgeIndex.open(tmp_path / "index", vector_name=source.vector, dimensions=source.dimensions)
    yield opened
    await opened.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def opener(settings_for: Callable[..., Settings], edge: EdgeIndex, metrics: Metrics) -> ModelOpener:
    return ModelOpener(settings_for(), HashtagRules.of(()), LiveHashtags(edge, most=100, metrics=metrics), metrics)


@pytest.fixture
def loader(opener: ModelOpener, edge: EdgeIndex, tiny: Checkpoint) -> ModelLoader:
    return ModelLoader(opener, edge, tiny)
