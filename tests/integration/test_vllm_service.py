"""The whole service over one vLLM, as a process of its own: what it holds in memory, and what happens when vLLM ends."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.processes import descendants, proportional_bytes
from harness.service import RunningService, running_service
from harness.vllm_server import FLAGS, vllm_server
from notellm import Checkpoint
from tests.clock import until_now

pytestmark = [pytest.mark.integration, pytest.mark.slow("starts vLLM"), pytest.mark.needs("vllm")]

START_SECONDS = 600
# One copy of the weights: all processes of the service hold little more than those of vLLM alone.
MOST_MEMORY = 1.15
NOTE = {"title": "Cold brew tastes sour", "content": "Should I grind finer or steep longer?"}


@pytest.fixture(scope="module")
def service(smollm2: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    settings = {"NOTELLM_ENGINE": "vllm", "NOTELLM_VLLM_CACHE_MIB": "256", "NOTELLM_MAX_GENERATION_NOTES": "64"}
    with running_service(smollm2.path, tmp_path_factory.mktemp("data"), start_seconds=START_SECONDS, **settings) as running:
        yield running


def ask(service: RunningService) -> httpx.Response:
    return httpx.post(f"{service.url}/notes/hashtags", json={"notes": [NOTE], "count": 3}, timeout=120, trust_env=False)


def metrics(service: RunningService) -> str:
    return service.get("/metrics").text


def test_it_embeds_and_suggests(service: RunningService, smollm2: Checkpoint) -> None:
    stored = httpx.post(f"{service.url}/notes/embed", json={"notes": [{"id": "n1"} | NOTE]}, timeout=120, trust_env=False)
    assert stored.status_code == 200, stored.text
    answer = ask(service)
    assert answer.status_code == 200, answer.text
    (suggested,) = answer.json()["notes"]
    assert suggested["category"]["category"] in smollm2.manifest.categories
    assert len(suggested["hashtags"]) == 3
    assert service.get("/model").json()["engine"] == "vllm"


def test_it_holds_one_copy_of_the_weights(service: RunningService, smollm2: Checkpoint, tmp_path: Path) -> None:
    """Beside a `vllm serve` of the same checkpoint with the same cache, which only generates."""
    assert "256" in FLAGS
    ask(service)
    ours = proportional_bytes(service.process.pid)
    with vllm_server(smollm2.path, tmp_path) as alone:
        body = {"model": "notellm", "prompt": [1, 2, 3, 4], "max_tokens": 8}
        assert httpx.post(f"{alone.url}/v1/completions", json=body, timeout=60, trust_env=False).status_code == 200
        theirs = proportional_bytes(alone.process.pid)
    print(f"proportional set size: service {ours / 2**20:.0f} MiB, vLLM alone {theirs / 2**20:.0f} MiB")  # noqa: T201
    assert ours <= MOST_MEMORY * theirs, (ours / 2**20, theirs / 2**20)


def test_when_vllm_ends_it_says_so_and_starts_it_again(service: RunningService) -> None:
    worker = next(
        pid for pid in descendants(service.process.pid) if Path(f"/proc/{pid}/comm").read_text().startswith("VLLM::Worker")
    )
    os.kill(worker, signal.SIGKILL)
    until_now(lambda: "vLLM ended by itself" in service.get("/health/ready").text)
    assert "notellm_engine_up 0.0" in metrics(service)
    refused = ask(service)
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:notellm:problem:engine-unavailable"
    assert int(refused.headers["Retry-After"]) >= 1
    # What needs no model is answered meanwhile.
    assert service.get("/notes/n1/similar").status_code == 200
    deadline = time.monotonic() + START_SECONDS
    while service.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline, service.log.read_text()[-3000:]
        time.sleep(0.5)
    assert ask(service).status_code == 200
    assert "notellm_engine_up 1.0" in metrics(service)
    assert "notellm_engine_restarts_total 0.0" not in metrics(service)
