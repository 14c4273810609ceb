"""Metrics of what the engine and the index are at the moment of a scrape."""

import shutil
from collections.abc import Callable

import httpx
import pytest
from qdrant_client import AsyncQdrantClient

from harness.service import free_port
from notellm import Checkpoint
from service.engines import LocalEngine
from service.engines.completions import CompletionsClient
from service.engines.remote import RemoteEngine
from service.errors import EngineUnavailable
from service.http import create_app
from service.index import ServerIndex
from service.serving.runtime import open_service
from service.serving.state_metrics import StateCollector
from service.settings import MIB, Settings
from tests.service.calls import NOTES, embed
from tests.service.index.backends import LOCAL_MODE


async def scrape(client: httpx.AsyncClient) -> dict[str, float]:
    response = await client.get("/metrics")
    assert response.status_code == 200
    samples = (line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, value in samples}


async def test_an_embedded_index_tells_its_disk_and_its_notes(settings_for: Callable[..., Settings]) -> None:
    settings = settings_for(min_free_disk_mib=7)
    async with open_service(settings) as runtime:
        transport = httpx.ASGITransport(create_app(runtime, settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            metrics = await scrape(client)
            assert metrics["notellm_index_reserved_disk_bytes"] == 7 * MIB
            free = shutil.disk_usage(settings.data_dir).free
            assert metrics["notellm_index_free_disk_bytes"] == pytest.approx(free, rel=0.2)
            assert (metrics["notellm_engine_up"], metrics["notellm_engine_restarts_total"]) == (1, 0)
            assert not [series for series in metrics if series.startswith("notellm_breaker_open")], "there is no server"
            assert metrics["notellm_index_notes"] == 0
            await embed(client, NOTES)
            await client.get("/health/ready")
            assert (await scrape(client))["notellm_index_notes"] == len(NOTES)
    async with open_service(settings) as runtime:
        assert runtime.metrics.registry.get_sample_value("notellm_index_notes") == len(NOTES)


async def test_metrics_go_on_when_the_directory_is_gone(settings_for: Callable[..., Settings]) -> None:
    settings = settings_for()
    async with open_service(settings) as runtime:
        place = settings.data_dir / "index"
        place.rename(aside := settings.data_dir / "aside")
        state = runtime.index.state()
        samples = {
            sample.name
            for family in StateCollector(lambda: runtime.engine, runtime.index).collect()
            for sample in family.samples
        }
        aside.rename(place)
    assert state.free_bytes is None
    assert "notellm_index_free_disk_bytes" not in samples
    assert "notellm_engine_up" in samples


async def test_what_is_counted_begins_at_zero(client: httpx.AsyncClient) -> None:
    """The first refusal of a process would otherwise be no increase."""
    metrics = await scrape(client)
    for queue in ("embed", "generate", "rank"):
        for counted in ("queue_refused_total", "queue_dropped_total", "batch_failures_total", "batch_seconds_count"):
            assert metrics[f'notellm_{counted}{{queue="{queue}"}}'] == 0
        assert metrics[f'notellm_queue_max_tokens{{queue="{queue}"}}'] == 131_072
    assert metrics['notellm_index_errors_total{operation="search"}'] == 0
    assert metrics['notellm_rate_limited_total{limit="tokens"}'] == 0


@LOCAL_MODE
async def test_each_server_that_may_be_left_alone_is_named(tiny: Checkpoint) -> None:
    client = CompletionsClient(f"http://127.0.0.1:{free_port()}", None, timeout_seconds=5, connections=1)
    local = LocalEngine(tiny, tiny.prompt(), max_batch_tokens=2048, threads=None)
    engine = RemoteEngine(tiny, tiny.prompt(), local, client, lanes=1)
    index = await ServerIndex.open(AsyncQdrantClient(":memory:"), collection="notes", vector_name="m", dimensions=4)

    def breakers() -> dict[str, float]:
        families = StateCollector(lambda: engine, index).collect()
        samples = [sample for family in families for sample in family.samples if sample.name == "notellm_breaker_open"]
        return {sample.labels["server"]: sample.value for sample in samples}

    states = [breakers()]
    for _ in range(5):
        with pytest.raises(EngineUnavailable):
            await client.models()
        states.append(breakers())
    await engine.close()
    await index.close()
    assert states == [{"qdrant": 0, "vllm": 0}] * 5 + [{"qdrant": 0, "vllm": 1}]
