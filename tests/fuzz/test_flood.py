"""A flood of hostile notes and the vectors of others: what can be promised is tested, and no more.

- The vector of a note that has a batch of its own is the same to the last bit, whatever came before and whatever waits.
- In a batch with others the sizes of the matrix products, and with them the rounding, depend on the company, though not on what the
  others say: `notellm.encoder.TOLERANCE` is what holds.
- What is stored is the same to the last bit, always.
"""

import asyncio
import base64
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import numpy as np
import pytest

from notellm.encoder import TOLERANCE
from service.http import create_app
from service.serving import Runtime, open_service
from service.settings import Settings
from tests.fuzz.hostile import NASTY, SPECIAL_TOKENS
from tests.service.calls import Json

Serve = Callable[..., AbstractAsyncContextManager[tuple[httpx.AsyncClient, Runtime]]]
FIXED: Json = {
    "title": "Cold brew tastes sour",
    "content": "Steeped for 12 hours, grind finer? #coldbrew",
    "hashtags": ["coffee"],
}
FLOODS: dict[str, Sequence[str]] = {
    "special tokens": SPECIAL_TOKENS,
    "control characters": [*map(chr, range(32)), "\x7f", "\x85", "\u200b", "\u202e", "\ufeff"],
    "everything": NASTY,
}


def flood(kind: str, requests: int, *, notes: int = 8) -> list[list[Json]]:
    """Bodies' notes, of many lengths."""
    drawn = random.Random(kind)
    pieces = FLOODS[kind]
    return [
        [
            {"id": f"flood-{request}-{number}", "title": "t" + "".join(drawn.choices(pieces, k=drawn.randrange(1, 30)))[:1000],
             "content": "".join(drawn.choices(pieces, k=drawn.randrange(1000)))}
            for number in range(notes)
        ]
        for request in range(requests)
    ]  # fmt: skip


@pytest.fixture
def serve(settings_for: Callable[..., Settings]) -> Serve:
    @asynccontextmanager
    async def serving(**changes: object) -> AsyncIterator[tuple[httpx.AsyncClient, Runtime]]:
        settings = settings_for(**changes)
        async with open_service(settings) as runtime:
            transport = httpx.ASGITransport(create_app(runtime, settings))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield client, runtime

    return serving


async def vectors(client: httpx.AsyncClient, notes: list[Json], *, store: bool = False) -> list[bytes]:
    """The notes' vectors as the API sends them, bit by bit."""
    body = {"notes": notes, "store": store, "encoding_format": "base64"}
    response = await client.post("/notes/embed", json=body)
    assert response.status_code == 200, response.text
    return [base64.b64decode(note["vector"]) for note in response.json()["notes"]]


async def alone(client: httpx.AsyncClient) -> bytes:
    return (await vectors(client, [{"id": "fixed", **FIXED}]))[0]


def batches(runtime: Runtime) -> tuple[float, float]:
    """How many batches were embedded, and how many notes in them."""
    read = runtime.metrics.registry.get_sample_value
    count = read("notellm_batch_notes_count", {"queue": "embed"})
    return count or 0, read("notellm_batch_notes_sum", {"queue": "embed"}) or 0


async def while_it_rains(client: httpx.AsyncClient, runtime: Runtime, kind: str) -> list[bytes]:
    """What another client, whom the queue serves in between, gets for the fixed note."""

    async def rain() -> None:
        for notes in itertools.cycle(flood(kind, 4)):
            await vectors(client, notes)

    transport = httpx.ASGITransport(client._transport.app, client=("192.0.2.1", 1))  # type: ignore[attr-defined]
    raining = [asyncio.create_task(rain()) for _ in range(4)]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as other:
        _, before = batches(runtime)
        answers = [await alone(other) for _ in range(8)]
        while batches(runtime)[1] <= before + len(answers):
            answers.append(await alone(other))
    assert not any(task.done() for task in raining)
    for task in raining:
        task.cancel()
    await asyncio.gather(*raining, return_exceptions=True)
    return answers


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_before_leaves_every_bit(kind: str, serve: Serve) -> None:
    async with serve() as (client, _):
        await vectors(client, [{"id": "stored", **FIXED}], store=True)
        stored = (await client.get("/notes/stored?vector=true&encoding_format=base64")).content
        before = await alone(client)
        await asyncio.gather(*(vectors(client, notes, store=True) for notes in flood(kind, 6)))
        assert await alone(client) == before
        assert (await client.get("/notes/stored?vector=true&encoding_format=base64")).content == stored


async def test_a_batch_of_its_own_has_the_same_bits_while_the_flood_is_running(serve: Serve) -> None:
    """The smallest limit of a batch is less than two prompts have: each note runs alone, while others wait."""
    async with serve(max_batch_tokens=64, threads=1) as (client, runtime):
        before = await alone(client)
        during = await while_it_rains(client, runtime, "everything")
        assert {*during, await alone(client)} == {before}
        count, notes = batches(runtime)
        assert count == notes > len(during) + 2


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_shared_batch_moves_a_vector_by_rounding_only(kind: str, serve: Serve) -> None:
    async with serve(threads=1) as (client, runtime):
        before = await alone(client)
        expected = np.frombuffer(before, "<f4")
        answers = []
        for number, notes in enumerate(flood(kind, 5)):
            count, embedded = batches(runtime)
            place = number % len(notes)
            answers.append((await vectors(client, [*notes[:place], {"id": "fixed", **FIXED}, *notes[place:]]))[place])
            assert batches(runtime)[0] - count < batches(runtime)[1] - embedded == 9
        answers += await while_it_rains(client, runtime, kind)
        for answer in answers:
            np.testing.assert_allclose(np.frombuffer(answer, "<f4"), expected, rtol=0, atol=TOLERANCE)
        assert await alone(client) == before


async def test_what_the_company_says_does_not_matter(serve: Serve) -> None:
    """Companions of the same lengths with other words leave the same bits: nothing of one note reaches another."""
    async with serve(threads=1) as (client, _):
        plain = [{"id": f"n{number}", "title": "~^~^~^~^"[:number]} for number in range(1, 8)]
        hostile = [{"id": f"n{number}", "title": "</s>[EMB"[-number:]} for number in range(1, 8)]
        tokens = [[note["tokens"] for note in (await client.post("/notes/embed", json={"notes": n})).json()["notes"]]
                  for n in (plain, hostile)]  # fmt: skip
        assert tokens[0] == tokens[1]
        fixed = {"id": "fixed", **FIXED}
        assert (await vectors(client, [fixed, *plain]))[0] == (await vectors(client, [fixed, *hostile]))[0]
