"""Builds the images, brings the compose stack with the embedded index up, and uses it as a newcomer would."""

from collections import Counter
from typing import Any

import httpx
import pytest

from tests.commands import run
from tests.stack.running import BUILD_SECONDS, Stack, run_it

pytestmark = [pytest.mark.stack, pytest.mark.needs("docker", "compose")]
COMMAND = "docker compose -p notellm -f deploy/compose/embedded.yml"
COLD_BREW = {
    "title": "Cold brew tastes sour",
    "content": "I steep coarse grounds for 12 hours. Grind finer or wait longer?",
}
PRESS = {"title": "Which grind for a French press?", "content": "My press gives muddy coffee, fines pass the filter."}
QUBIT = {"title": "Why does a noisy gate ruin my qubit?", "content": "Each gate adds error.", "hashtags": ["noise"]}
EMBED = {"notes": [COLD_BREW | {"id": "brew"}, PRESS | {"id": "press"}, QUBIT | {"id": "qubit"}]}


def _ask(client: httpx.Client, method: str, path: str, **arguments: Any) -> Any:
    answer = client.request(method, path, **arguments)
    assert answer.is_success, answer.text
    return answer.json()


def test_answers_the_three_calls(client: httpx.Client) -> None:
    embedded = _ask(client, "POST", "/notes/embed", json=EMBED)["notes"]
    assert [note["status"] for note in embedded] == ["stored"] * 3
    assert [sum(value**2 for value in note["vector"]) for note in embedded] == pytest.approx([1, 1, 1], abs=1e-5)
    similar = _ask(client, "GET", "/notes/brew/similar", params={"limit": 2})
    assert [note["id"] for note in similar["neighbours"]] == ["press", "qubit"]
    (note,) = _ask(client, "POST", "/notes/hashtags", json={"notes": [COLD_BREW], "count": 3})["notes"]
    assert 1 <= len(note["hashtags"]) <= 3


def test_container_is_locked_down(stack: Stack) -> None:
    host = stack.inspected("service")["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["PortBindings"]["8000/tcp"][0]["HostIp"] == "127.0.0.1"
    writable = "[place for place in ('/', '/checkpoint', '/data', '/tmp') if os.access(place, os.W_OK)]"
    probe = f"import os; print(os.getuid(), {writable})"
    assert run("docker", "exec", stack.container, "python", "-c", probe) == "10001 ['/data', '/tmp']"


def test_no_acknowledged_note_is_lost_to_sigkill(stack: Stack, client: httpx.Client) -> None:
    _ask(client, "POST", "/notes/embed", json=EMBED)
    before = _ask(client, "GET", "/notes/brew/similar")
    run("docker", "kill", "--signal", "KILL", stack.container)
    run("docker", "start", stack.container)
    stack.wait_until_ready()
    assert _ask(client, "GET", "/notes/brew/similar") == before
    again = _ask(client, "POST", "/notes/embed", json=EMBED)["notes"]
    assert [note["status"] for note in again] == ["unchanged"] * 3


def _neighbours(client: httpx.Client) -> list[Any]:
    return [_ask(client, "GET", f"/notes/{note}/similar", params={"limit": 10}) for note in ("brew", "coffee-12")]


def test_the_commands_of_the_pages_and_what_is_kept(stack: Stack, client: httpx.Client) -> None:
    """The last here: those above have the index for themselves."""
    up, fill, ready, down = run_it()
    assert f"{COMMAND} up --build --detach" in up, "which has brought this stack up"
    assert (fill.startswith(f"{COMMAND} run --rm fill"), down.startswith(f"{COMMAND} down")) == (True, True)
    assert stack.types(fill, timeout=300).splitlines()[-1] == "2,246 notes stored"
    assert stack.types(ready) == '{"status":"ok"}'
    _ask(client, "POST", "/notes/embed", json=EMBED)
    before = _neighbours(client)
    assert [len(similar["neighbours"]) for similar in before] == [10, 10]
    topics = Counter(note.get("category") for note in before[0]["neighbours"])
    assert topics.most_common(1)[0][0] in {"coffee", "beer"}

    stack.types(down)
    assert sorted(stack.leftovers()) == [f"{stack.project}_{volume}" for volume in ("checkpoint", "data")]
    stack.types(f"TORCH_INDEX=<address> {COMMAND} --profile demo up --build --detach", timeout=BUILD_SECONDS)
    assert stack.printed("fill").splitlines()[-1] == "2,246 notes unchanged"
    assert _neighbours(client) == before
