"""What each engine declares of how its work is to be queued."""

import pytest

from notellm import Checkpoint
from service.engines import LocalEngine, QueuePolicy, ThreadedEngine
from service.engines.completions import CompletionsClient
from service.engines.remote import RemoteEngine
from service.engines.vllm import VllmEngine
from service.engines.vllm_process import VllmOptions


@pytest.fixture(scope="module")
def local(tiny: Checkpoint) -> LocalEngine:
    return LocalEngine(tiny, tiny.prompt(), max_batch_tokens=2048, threads=None)


def test_an_engine_of_one_thread_generates_batches_and_ranks_in_turn(local: LocalEngine) -> None:
    expected = QueuePolicy(generation_lanes=1, ranking_lanes=None, merges=False, ranks_together=True, abandons=False)
    assert ThreadedEngine(local).queue_policy == expected


@pytest.mark.parametrize("lanes", [1, 16])
def test_vllm_merges_generations_and_ranks_beside_them(tiny: Checkpoint, lanes: int) -> None:
    options = VllmOptions(cache_bytes=2**20, lanes=lanes, threads=1)
    engine = VllmEngine(tiny, tiny.prompt(), options, max_batch_tokens=2048, stall_seconds=0.25)
    assert engine.queue_policy == QueuePolicy(
        generation_lanes=lanes, ranking_lanes=1, merges=True, ranks_together=True, abandons=True
    )


@pytest.mark.parametrize("lanes", [1, 16])
async def test_a_server_elsewhere_ranks_as_many_as_it_generates(tiny: Checkpoint, local: LocalEngine, lanes: int) -> None:
    client = CompletionsClient("http://127.0.0.1:1", None, timeout_seconds=1, connections=1)
    engine = RemoteEngine(tiny, tiny.prompt(), local, client, lanes=lanes)
    assert engine.queue_policy == QueuePolicy(
        generation_lanes=lanes, ranking_lanes=lanes, merges=True, ranks_together=False, abandons=True
    )
    await engine.close()
