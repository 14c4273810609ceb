"""API keys, made by the commands of the documentation, over the embedded stack: who gets in, and Prometheus among them."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.commands import ROOT
from tests.stack.running import BUILD_SECONDS, KEYS, MONITORING, Stack, brought_up

pytestmark = [pytest.mark.stack, pytest.mark.needs("docker", "compose")]
(SCRIPT,) = re.findall(
    r"```console\n((?:(?!```).)*keygen.*?)```", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.DOTALL
)
NOTES = {"notes": [{"id": "one", "title": "Cold brew tastes sour"}, {"id": "two", "title": "Which grind for a press?"}]}


@dataclass(frozen=True)
class Secrets:
    """What a reader has after the documented commands: files, and the keys that were shown on the terminal."""

    folder: Path
    keys: dict[str, str]


@pytest.fixture(scope="module")
def secrets(compose: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    folder = tmp_path_factory.mktemp("reader")
    script = SCRIPT.replace("docker compose", shlex.join(compose))
    environment = os.environ | {"COMPOSE_FILE": str(ROOT / "docker-compose.yml")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=BUILD_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return Secrets(folder / "secrets", dict(re.findall(r"API key of (\w+), shown only once: (\S+)", done.stderr)))


@pytest.fixture(scope="module")
def keyed(
    compose: tuple[str, ...], _prometheus_image: None, secrets: Secrets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Without Grafana, whose image is another one; with one core for the service."""
    variables = {"SECRETS_DIR": str(secrets.folder), "SERVICE_CPUS": "1"}
    stack = Stack.prepared(compose, tmp_path_factory.mktemp("keyed"), MONITORING, KEYS, **variables)
    with brought_up(stack, "--build", "service", "prometheus"):
        yield stack


def ask(stack: Stack, method: str, path: str, key: str | None = None, **arguments: object) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.request(method, f"{stack.url}{path}", headers=headers, timeout=120, **arguments).status_code  # type: ignore[arg-type]


def test_the_commands_make_every_secret(secrets: Secrets) -> None:
    assert secrets.keys.keys() == {"feed", "site", "operator"}
    assert {file.name for file in secrets.folder.iterdir()} == {
        "keys.toml", "metrics_key", "grafana_password", "qdrant_api_key", "qdrant.yaml",
    }  # fmt: skip
    assert (secrets.folder / "qdrant_api_key").read_text().strip() in (secrets.folder / "qdrant.yaml").read_text()


@pytest.mark.parametrize("key", [None, "nobodys"])
def test_without_a_key_nobody_gets_in(keyed: Stack, key: str | None) -> None:
    assert ask(keyed, "POST", "/notes/embed", key, json=NOTES) == 401
    assert ask(keyed, "GET", "/notes/one/similar", key) == 401
    assert ask(keyed, "GET", "/metrics", key) == 401
    assert ask(keyed, "GET", "/health/live", key) == 200


def test_a_key_does_what_its_scope_says(keyed: Stack, secrets: Secrets) -> None:
    feed, site = secrets.keys["feed"], secrets.keys["site"]
    assert ask(keyed, "POST", "/notes/embed", site, json=NOTES) == 403
    assert ask(keyed, "POST", "/notes/embed", feed, json=NOTES) == 200
    assert ask(keyed, "GET", "/notes/one/similar", feed) == 403
    assert ask(keyed, "GET", "/notes/one/similar", site) == 200


def test_prometheus_reads_with_its_key(keyed: Stack) -> None:
    keyed.wait_until_healthy("prometheus")
    keyed.prometheus.wait_for('up{job="notellm"} == 1', 120)
    (target,) = keyed.prometheus.get("targets")["activeTargets"]
    assert (target["scrapeUrl"], target["health"]) == ("http://service:8000/metrics", "up")


def test_the_index_is_filled_with_an_operators_key(keyed: Stack, secrets: Secrets) -> None:
    told = keyed("run", "--rm", "-T", "fill", timeout=300, NOTELLM_API_KEY=secrets.keys["operator"])
    assert told.splitlines()[-1] == "2,246 notes stored"


def test_the_service_takes_as_many_threads_as_it_has_cores(keyed: Stack) -> None:
    assert keyed.inspected("service")["HostConfig"]["NanoCpus"] == 10**9
    lines = [line[line.index("{") :] for line in keyed("logs", "service").splitlines() if '"loading"' in line]
    assert [json.loads(line)["threads"] for line in lines] == [1]
