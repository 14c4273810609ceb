"""Batches: who is in them, who is whose negative, and who does which task."""

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from notellm.note import Note
from training.batches.examples import BatchPlan, ExampleSettings, GlobalBatch, undirected
from training.data import Pair
from training.errors import DataError

NOTES = {
    f"n{i}": Note(
        id=f"n{i}",
        title=f"title {i}",
        hashtags=tuple(f"tag{j}" for j in range(i % 4)),
        category=None if i % 5 == 0 else "food",
    )
    for i in range(60)
}
RING = [Pair(f"n{i}", f"n{(i + 1) % 60}", 1.0 - i / 100) for i in range(60)]


def plan(pairs: list[Pair] = RING, seed: int = 0, **settings: object) -> BatchPlan:
    return BatchPlan(pairs, NOTES, ExampleSettings.model_validate({"pairs_per_batch": 8, **settings}), seed)


@given(
    st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)).filter(lambda p: p[0] != p[1]), min_size=20, max_size=200),
    st.integers(2, 6),
    st.integers(1, 3),
)
def test_no_note_stands_twice_in_a_batch(edges: list[tuple[int, int]], size: int, epochs: int) -> None:
    pairs = [Pair(f"n{a}", f"n{b}", 1.0) for a, b in edges]
    try:
        batches = plan(pairs, pairs_per_batch=size, epochs=epochs)
    except DataError:
        return
    seen: Counter[frozenset[str]] = Counter()
    for batch in batches:
        ids = [asked.note for asked in (*batch.first, *batch.second)]
        assert len(ids) == len(set(ids)) == 2 * size
        seen.update(frozenset((a.note, b.note)) for a, b in zip(batch.first, batch.second, strict=True))
    known = {frozenset((pair.source, pair.target)) for pair in pairs}
    assert set(seen) <= known
    assert max(seen.values()) <= epochs
    left_over = epochs * len(known) - sum(seen.values())
    assert left_over >= 0


def test_most_pairs_are_used() -> None:
    used = sum(len(batch.first) for batch in plan(epochs=4))
    assert used >= 4 * len(RING) - 2 * 8


def test_both_directions_of_a_pair_count_once() -> None:
    pairs = [Pair("n1", "n2", 0.5), Pair("n2", "n1", 0.9), Pair("n3", "n4", 0.7)]
    assert undirected(pairs) == [("n2", "n1"), ("n3", "n4")]


def test_the_share_of_hashtag_tasks_is_r() -> None:
    tasks = Counter(asked.task for batch in plan(hashtag_share=0.4) for asked in (*batch.first, *batch.second))
    assert tasks["hashtags"] / sum(tasks.values()) == pytest.approx(0.4, abs=0.04)


def test_hashtags_are_drawn_from_the_notes_own() -> None:
    counts: Counter[int] = Counter()
    for batch in plan(hashtag_share=1.0, epochs=5):
        for asked in (*batch.first, *batch.second):
            own = NOTES[asked.note].all_hashtags
            assert set(asked.hashtags) <= set(own)
            assert asked.task == ("hashtags" if own else "none")
            if asked.note == "n3":
                counts[len(asked.hashtags)] += 1
    assert set(counts) <= {1, 2, 3}
    assert len(counts) > 1  # j is drawn, not fixed


def test_r_of_zero_asks_for_categories_only() -> None:
    tasks = {asked.task for batch in plan(hashtag_share=0.0) for asked in (*batch.first, *batch.second)}
    assert tasks == {"category", "none"}  # some notes have no category


def test_a_plan_depends_on_its_seed_alone() -> None:
    assert list(plan(epochs=2)) == list(plan(epochs=2))
    assert list(plan(epochs=2)) != list(plan(epochs=2, seed=1))
    assert plan(epochs=2)[3] == list(plan(epochs=2))[3]  # and not on what was asked before


def test_processes_share_a_batch_without_overlap() -> None:
    batch = plan()[0]
    shards = [batch.shard(rank, 4) for rank in range(4)]
    assert sorted(asked.note for shard in shards for asked in shard) == sorted(
        asked.note for asked in (*batch.first, *batch.second)
    )
    partners = {a.note: b.note for a, b in zip(batch.first, batch.second, strict=True)}
    for shard in shards:
        assert [partners[asked.note] for asked in shard[:2]] == [asked.note for asked in shard[2:]]


def test_the_highest_scores_come_first_when_asked_for() -> None:
    batch = plan(order="by_score", max_pairs=30)[0]
    scores = {frozenset((p.source, p.target)): p.score for p in RING}
    drawn = [scores[frozenset((a.note, b.note))] for a, b in zip(batch.first, batch.second, strict=True)]
    assert drawn == sorted(drawn, reverse=True)
    assert drawn[0] == 1.0


def test_too_few_pairs_are_refused_with_advice() -> None:
    with pytest.raises(DataError, match=r"do not fill one batch of 8 pairs.*pairs_per_batch"):
        plan(RING[:5])


SITES = {
    f"s{i}": Note(id=f"s{i}", title=f"title {i}", category=("big", "mid", "small")[(i > 40) + (i > 60)]) for i in range(65)
}
SITES["none"] = Note(id="none", title="of no site")


def within(pairs: list[tuple[int, int]], **settings: object) -> BatchPlan:
    chosen = ExampleSettings.model_validate({"pairs_per_batch": 3, "stay_within": "category", **settings})
    return BatchPlan([Pair(f"s{a}", f"s{b}", 1 / (1 + a)) for a, b in pairs], SITES, chosen, 0)


def sites(batch: GlobalBatch) -> set[str | None]:
    return {SITES[asked.note].category for asked in (*batch.first, *batch.second)}


def pairs_in(plan: BatchPlan) -> Counter[tuple[str, str]]:
    return Counter((a.note, b.note) for batch in plan for a, b in zip(batch.first, batch.second, strict=True))


NEIGHBOURS = [(i, i + 1) for i in range(64)]  # two of them lead from one site to another


@pytest.mark.parametrize("order", ["shuffled", "by_score"])
def test_pairs_may_stay_within_a_category(order: str) -> None:
    used = pairs_in(within(NEIGHBOURS, order=order, epochs=6))
    assert {("s40", "s41"), ("s60", "s61")}.isdisjoint(used)
    assert len(used) == len(NEIGHBOURS) - 2


def test_a_batch_has_pairs_of_several_categories() -> None:
    """Otherwise each step would teach a single category as the answer to every note."""
    batches = within(NEIGHBOURS, epochs=6)
    assert sum(len(sites(batch)) > 1 for batch in batches) > len(batches) / 2


def test_pairs_across_categories_and_of_notes_without_one_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "training")
    pairs = [Pair("none", "s0", 9.0), Pair("s40", "s41", 8.0), Pair("s0", "s1", 1.0), Pair("s2", "s3", 1.0)]
    settings = ExampleSettings(pairs_per_batch=2, stay_within="category", max_pairs=2)
    assert pairs_in(BatchPlan(pairs, SITES, settings, 0)).keys() == {("s0", "s1"), ("s2", "s3")}
    assert "stay_within leaves out 2 of 4 pairs" in caplog.text


def test_pairs_that_fill_no_batch_within_a_category_are_refused_with_advice() -> None:
    message = r"2 pairs within a category do not fill one batch of 3 pairs.*or remove stay_within"
    with pytest.raises(DataError, match=message):
        within([(40, 41), (0, 1), (2, 3)])
