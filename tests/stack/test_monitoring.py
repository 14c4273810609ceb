"""The container of Prometheus reads that of the service, and an alert fires when more is asked than it can do."""

import asyncio
import json
import re
import time
from collections import Counter

import httpx
import pytest
import yaml

from tests.prometheus import SHIPPED, RunningPrometheus
from tests.stack.running import MONITORING, Stack

pytestmark = [pytest.mark.stack, pytest.mark.needs("docker", "compose")]
ALERT = "NotellmQueueRefusing"
# The first refusals are read after at most 15 s, seen by the rule 15 s later, and their rate has to stay up for three minutes.
FIRING_SECONDS = 270
RECOVERY_SECONDS = 120
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
def monitored(stack: Stack, _prometheus_image: None) -> Stack:
    """The same project, with Prometheus beside the service, which runs on as it is."""
    before = stack.container
    running = stack.over(MONITORING)
    running("up", "-d", "prometheus")
    running.wait_until_healthy("prometheus")
    assert running.container == before
    return running


@pytest.fixture(scope="module")
def prometheus(monitored: Stack) -> RunningPrometheus:
    monitored.prometheus.wait_for('up{job="notellm"} == 1', 120)
    return monitored.prometheus


def test_prometheus_is_locked_down(monitored: Stack) -> None:
    inspected = monitored.inspected("prometheus")
    host = inspected["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["NanoCpus"]) == (True, ["ALL"], 10**9)
    assert host["PortBindings"]["9090/tcp"][0]["HostIp"] == "127.0.0.1"
    mounts = {mount["Destination"]: (mount["Type"], mount["RW"]) for mount in inspected["Mounts"]}
    assert mounts == {"/etc/prometheus": ("bind", False), "/prometheus": ("volume", True)}


def test_the_rules_are_loaded(prometheus: RunningPrometheus) -> None:
    shipped = yaml.safe_load((SHIPPED / "rules" / "notellm.yml").read_text())["groups"]
    loaded = prometheus.get("rules")["groups"]
    assert {group["name"]: [rule["name"] for rule in group["rules"]] for group in loaded} == {
        group["name"]: [rule.get("alert") or rule["record"] for rule in group["rules"]] for group in shipped
    }
    assert {rule["health"] for group in loaded for rule in group["rules"]} <= {"ok", "unknown"}


def test_the_container_is_read(prometheus: RunningPrometheus) -> None:
    (served,) = prometheus.query("notellm_model_info")
    assert (served["metric"]["engine"], served["metric"]["job"]) == ("local", "notellm")
    (free,) = prometheus.query("notellm_index_free_disk_bytes")
    assert float(free["value"][1]) > 0
    (target,) = prometheus.get("targets")["activeTargets"]
    assert (target["scrapeUrl"], target["health"]) == ("http://service:8000/metrics", "up")
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
    dropped = re.search(r'notellm_queue_dropped_total\{queue="embed"\} (\S+)', (await client.get("/metrics")).text)
    assert dropped is not None
    assert float(dropped[1]) > 0


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
        assert (labels["severity"], labels["instance"]) == ("warning", "service:8000")
        # The flood outlasts the deadline of its first requests, and what came before a batch was measured may be late.
        assert statuses.keys() <= {200, 429, 504}
        assert statuses[429] > statuses[200] + statuses[504]
        await _assert_recovers(client)
