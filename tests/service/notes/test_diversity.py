"""Maximal marginal relevance against its definition, written out; and the pages of a diverse list over HTTP on every index."""

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from hypothesis import given, strategies as st

from service.http import create_app
from service.notes import diversity as diversity_module
from service.notes.diversity import rank_diversely
from service.serving import open_service
from service.settings import Settings
from tests.qdrant import QdrantStandIn
from tests.service.calls import Json, embed, neighbours, on_shared_loop

Array = npt.NDArray[np.float64]
ROUNDING = 1e-6
# Unit vectors whose cosines are multiples of a quarter: everything is exact, ties included.
EXACT = st.lists(st.sampled_from([-0.5, 0.5]), min_size=4, max_size=4)


def marginal_relevance(candidate: int, chosen: Sequence[int], relevances: Array, vectors: Array, diversity: float) -> float:
    """The definition: λ sim(c, q) - (1 - λ) max sim(c, s); the maximum over nothing is 0."""
    nearest = max((float(vectors[candidate] @ vectors[one]) for one in chosen), default=0.0)
    return (1 - diversity) * float(relevances[candidate]) - diversity * nearest


def by_definition(relevances: Array, vectors: Array, diversity: float, count: int) -> list[int]:
    rest, chosen = list(range(len(relevances))), list[int]()
    while rest and len(chosen) < count:
        # Of equals, `max` takes the first.
        chosen.append(max(rest, key=lambda one: marginal_relevance(one, chosen, relevances, vectors, diversity)))
        rest.remove(chosen[-1])
    return chosen


def by_relevance(query: Array, vectors: Array) -> tuple[Array, Array]:
    order = np.argsort(-(vectors @ query), kind="stable")
    return (vectors @ query)[order], vectors[order]


@given(query=EXACT, found=st.lists(EXACT, max_size=20), quarters=st.integers(0, 4), count=st.integers(0, 25))
def test_it_is_the_definition_ties_included(query: list[float], found: list[Any], quarters: int, count: int) -> None:
    relevances, vectors = by_relevance(np.array(query), np.array(found).reshape(-1, 4))
    expected = by_definition(relevances, vectors, quarters / 4, max(count, 1))
    assert list(rank_diversely(relevances, vectors, quarters / 4, count)) == expected


@given(
    seed=st.integers(0, 2**32 - 1), size=st.integers(1, 60), dimensions=st.integers(2, 40),
    diversity=st.floats(0, 1), repeated=st.booleans(),
)  # fmt: skip
def test_every_choice_has_the_largest_marginal_relevance(
    seed: int, size: int, dimensions: int, diversity: float, repeated: bool
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((size, dimensions))
    if repeated:
        vectors[size // 2 :] = vectors[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevances, vectors = by_relevance(vectors[random.integers(size)], vectors)
    chosen = rank_diversely(relevances.astype(np.float32), vectors.astype(np.float32), diversity, size)
    assert sorted(chosen) == list(range(size))
    for position, one in enumerate(chosen):
        value = functools.partial(
            marginal_relevance, chosen=chosen[:position], relevances=relevances, vectors=vectors, diversity=diversity
        )
        assert value(one) >= max(map(value, chosen[position:])) - 2 * ROUNDING


def test_without_diversity_the_order_stays_and_with_all_of_it_repetitions_come_last() -> None:
    vectors = np.array([[1, 0, 0], [1, 0, 0], [0.8, 0.6, 0], [0.8, 0.6, 0], [0, 0, 1]])
    relevances = vectors[:, 0]
    assert list(rank_diversely(relevances, vectors, 0, 5)) == [0, 1, 2, 3, 4]
    assert list(rank_diversely(relevances, vectors, 1, 5)) == [0, 4, 2, 1, 3]
    assert list(rank_diversely(relevances, vectors, 0.5, 9)) == [0, 1, 2, 4, 3]
    assert list(rank_diversely(relevances[:0], vectors[:0], 0.5, 9)) == []


@given(seed=st.integers(0, 2**32 - 1))
def test_rounding_errors_do_not_choose(seed: int) -> None:
    """A candidate that equals the query, at λ = ½: what follows it is all equally good, so the most relevant is next."""
    vectors = np.random.default_rng(seed).standard_normal((40, 37))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevances, vectors = by_relevance(vectors[0], vectors)
    assert list(rank_diversely(relevances.astype(np.float32), vectors.astype(np.float32), 0.5, 2)) == [0, 1]


@pytest_asyncio.fixture(params=["edge", "client-grpc"], scope="module", loop_scope="module")
async def client(request: pytest.FixtureRequest, shared_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    """The service over each kind of index, in which all tests store the same notes."""
    server = QdrantStandIn()
    await server.start()
    on_server = {"qdrant_url": "http://127.0.0.1", "qdrant_grpc_port": server.port}
    settings = shared_settings(**(on_server if request.param == "client-grpc" else {}))
    async with open_service(settings) as running:
        assert running.index.name == ("qdrant-edge" if request.param == "edge" else "qdrant-server")
        transport = httpx.ASGITransport(create_app(running, settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as speaking:
            yield speaking
    await server.stop()


WORDS = ["sour", "grind", "qubit", "brew", "hops", "steep", "gate", "finer", "beer", "coffee", "noisy", "home"]
POSTS: list[Json] = [
    # Every third post is the same text again.
    {"id": f"p{number:02}", "title": f"{WORDS[number % 12]} {WORDS[number * 5 % 7]}" if number % 3 else "cold brew tastes sour",
     "category": "even" if number % 2 == 0 else "odd"}
    for number in range(30)
]  # fmt: skip


async def stored(client: httpx.AsyncClient) -> tuple[list[str], Array]:
    """All posts in the order of their ids, with their vectors as the index gives them."""
    await embed(client, POSTS)
    ids = [str(post["id"]) for post in POSTS]
    found = [(await client.get(f"/notes/{note_id}?vector=true")).json()["vector"] for note_id in ids]
    return ids, np.array(found, dtype=np.float64)


def assert_diverse(
    found: list[Json], query: Array, ids: list[str], vectors: Array, diversity: float, candidates: set[str]
) -> None:
    """Each neighbour was the best next one of the candidates, and of equals the more relevant, then the one of the lower id."""
    position = {note_id: number for number, note_id in enumerate(ids)}
    relevances = vectors @ query
    np.testing.assert_allclose([one["score"] for one in found], [relevances[position[one["id"]]] for one in found], atol=1e-5)
    chosen: list[int] = []
    for one in found:
        rest = [position[note_id] for note_id in candidates if position[note_id] not in chosen]
        values = {c: marginal_relevance(c, chosen, relevances, vectors, diversity) for c in rest}
        this = position[one["id"]]
        assert values[this] >= max(values.values()) - 1e-5
        same = [c for c in rest if np.abs(vectors[c] - vectors[this]).max() < 1e-6]
        assert ids[this] == min(ids[c] for c in same)
        chosen.append(this)


@on_shared_loop
@pytest.mark.parametrize("diversity", [0.2, 0.5, 0.8, 1])
async def test_neighbours_are_diverse_by_the_definition(diversity: float, client: httpx.AsyncClient) -> None:
    ids, vectors = await stored(client)
    query = {"limit": 12, "diversity": diversity}
    found = await neighbours(client, "/notes/p04/similar", **query)
    assert len(found) == 12
    assert_diverse(found, vectors[4], ids, vectors, diversity, set(ids) - {"p04"})
    assert found != await neighbours(client, "/notes/p04/similar", limit=12)

    history = {"ids": ["p04", "p05", "p05"], "exclude": ["p07"], "category": "odd", **query}
    found = (await client.post("/notes/similar", json=history)).json()["neighbours"]
    mean = vectors[4] + 2 * vectors[5]
    odd = {str(post["id"]) for post in POSTS if post["category"] == "odd"} - {"p04", "p05", "p07"}
    assert_diverse(found, mean / np.linalg.norm(mean), ids, vectors, diversity, odd)

    text = {"note": {"title": POSTS[4]["title"]}, **query}
    found = (await client.post("/notes/similar", json=text)).json()["neighbours"]
    assert_diverse(found, vectors[4], ids, vectors, diversity, set(ids))


@on_shared_loop
async def test_no_diversity_is_the_order_by_nearness(client: httpx.AsyncClient) -> None:
    await stored(client)
    plain = await neighbours(client, "/notes/p04/similar", limit=30)
    assert await neighbours(client, "/notes/p04/similar", limit=30, diversity=0) == plain
    assert [one["score"] for one in plain] == sorted((one["score"] for one in plain), reverse=True)


@on_shared_loop
@pytest.mark.parametrize("candidates", [200, 10])
async def test_pages_are_cut_from_one_list(candidates: int, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity_module, "CANDIDATES", candidates)
    ids, vectors = await stored(client)
    whole = await neighbours(client, "/notes/p04/similar", limit=100, diversity=0.6)
    assert {one["id"] for one in whole} == set(ids) - {"p04"}
    for size in (1, 4, 7, 29):
        pages = [
            await neighbours(client, "/notes/p04/similar", limit=size, offset=offset, diversity=0.6)
            for offset in range(0, len(whole) + size, size)
        ]
        assert pages[-1] == []
        paged = [one for page in pages for one in page]
        assert paged == whole
    if candidates < len(ids):
        rest = [one["score"] for one in whole[candidates:]]
        assert rest == sorted(rest, reverse=True)
        assert min(one["score"] for one in whole[:candidates]) >= rest[0] - ROUNDING
        assert_diverse(whole[:candidates], vectors[4], ids, vectors, 0.6, {one["id"] for one in whole[:candidates]})


@on_shared_loop
async def test_a_least_score_is_one_of_relevance(client: httpx.AsyncClient) -> None:
    ids, vectors = await stored(client)
    scores = np.sort(np.delete(vectors @ vectors[4], 4))[::-1]
    least = float(scores[11] + scores[12]) / 2
    found = await neighbours(client, "/notes/p04/similar", limit=100, diversity=0.9, min_score=least)
    assert {one["id"] for one in found} == {
        note_id for note_id, score in zip(ids, vectors @ vectors[4], strict=True) if score >= least and note_id != "p04"
    }


@on_shared_loop
async def test_deleted_notes_of_a_history_can_be_passed_over(client: httpx.AsyncClient) -> None:
    await stored(client)
    whole = (await client.post("/notes/similar", json={"ids": ["p01", "p02"]})).json()
    assert "missing" not in whole
    history = {"ids": ["gone", "p01", "p02", "lost", "gone"]}
    assert (await client.post("/notes/similar", json=history)).status_code == 404
    answer = (await client.post("/notes/similar", json=history | {"skip_missing": True})).json()
    assert answer == whole | {"missing": ["gone", "lost"]}
    all_there = (await client.post("/notes/similar", json={"ids": ["p01", "p02"], "skip_missing": True})).json()
    assert all_there == whole | {"missing": []}
    nothing = await client.post("/notes/similar", json={"ids": ["gone"], "skip_missing": True})
    assert nothing.status_code == 404
