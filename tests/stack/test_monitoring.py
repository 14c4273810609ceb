"""A real Prometheus reads the running container by the shipped files, and an alert fires when more is asked than it can do."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.prometheus import RunningPrometheus, running_prometheus
from tests.stack.running import Stack

pytestmark = pytest.mark.stack
ALERT = "NotellmQueueRefusing"
# The first refusals are read after at most 15 s, seen by the rule 15 s later, and have to go on for a minute.
FIRING_SECONDS = 150
# All that waited would take minutes.
RECOVERY_SECONDS = 30
CLIENTS = 16
# Four such requests are more than may wait.
FLOOD = json.dumps(
    {
        "store": False,
        "vectors": False,
        "notes": [
            {"id": f"n{number}", "title": f"Cold brew {number}", "content": "I steep coarse grounds for 12 hours. " * 12}
            for number in range(256)
        ],
    }
)


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPrometheus]:
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{stack.port}") as running:
        running.wait_for('up{job="notellm"} == 1', 30)
        yield running


def test_the_container_is_read(prometheus: RunningPrometheus) -> None:
    (served,) = prometheus.query("notellm_model_info")
    assert (served["metric"]["engine"], served["metric"]["job"]) == ("local", "notellm")
    (free,) = prometheus.query("notellm_index_free_disk_bytes")
    assert float(free["value"][1]) > 0
    assert prometheus.firing() == {}


async def _ask_again_and_again(client: httpx.AsyncClient, statuses: Counter[int]) -> None:
    while True:
        answer = await client.post("/notes/embed", content=FLOOD, headers={"Content-Type": "application/json"})
        statuses[answer.status_code] += 1
        await asyncio.sleep(0.5)  # not the seconds of Retry-After: a client that does not care


def _wait_until_firing(prometheus: RunningPrometheus) -> dict[str, str]:
    deadline = time.monotonic() + FIRING_SECONDS
    while not (labels := prometheus.firing().get(ALERT)):
        assert time.monotonic() < deadline, f"{ALERT} does not fire: {prometheus.get('rules', type='alert')}"
        time.sleep(2)
    return labels


async def _assert_recovers(client: httpx.AsyncClient) -> None:
    """What clients that have left had waiting is dropped: it is not computed before the next one's."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    note = {"store": False, "notes": [{"id": "after", "title": "After the flood"}]}
    while (answer := await client.post("/notes/embed", json=note)).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(1)


async def test_an_overloaded_stack_makes_an_alert_fire(stack: Stack, prometheus: RunningPrometheus) -> None:
    statuses: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=stack.url, timeout=300, trust_env=False) as client:
        flood = [asyncio.create_task(_ask_again_and_again(client, statuses)) for _ in range(CLIENTS)]
        try:
            labels = await asyncio.to_thread(_wait_until_firing, prometheus)
        finally:
            for task in flood:
                task.cancel()
            await asyncio.gather(*flood, return_exceptions=True)
        assert (labels["severity"], labels["instance"]) == ("warning", f"127.0.0.1:{stack.port}")
        assert statuses.keys() <= {200, 429}
        assert statuses[429] > statuses[200]
        await _assert_recovers(client)
