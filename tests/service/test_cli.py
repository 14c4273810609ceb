"""The garbage collector ignores the objects that exist before the process starts to serve."""

import gc
from collections.abc import Iterator

import pytest

from service.cli import freeze_garbage_collector


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_a_full_collection_passes_over_what_was_there() -> None:
    kept = [[number] for number in range(300_000)]
    freeze_garbage_collector()
    assert gc.get_freeze_count() > len(kept)
    examined = {id(tracked) for tracked in gc.get_objects()}  # what a collection goes through
    assert not examined & {id(kept), *map(id, kept)}
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
