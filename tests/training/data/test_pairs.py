"""Related pairs against a brute force over the definition, and the caps and thresholds one by one."""

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from training.data.pairs import Pair, PairSettings, Period, related_pairs, select_pairs

Event = tuple[str, str, str | None, float]  # user, note, event type, moment
HOUR = 3600.0
ALWAYS = Period()
EVERYTHING: dict[str, Any] = {"per_note": 1000, "min_score": 0, "max_score": 1000, "successors": 1000}


def log(events: Iterable[Event]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("create table events (user_id varchar, note_id varchar, event_type varchar, moment double)")
    if rows := [*events]:
        columns = "unnest(?::varchar[]), unnest(?::varchar[]), unnest(?::varchar[]), unnest(?::double[])"
        connection.execute(f"insert into events select {columns}", [list(column) for column in zip(*rows, strict=True)])
    return connection


def found(events: Iterable[Event], allowed: Iterable[str] = "abcdefgh", period: Period = ALWAYS, **changes: Any) -> list[Pair]:
    chosen = PairSettings.model_validate(EVERYTHING | changes)
    with log(events) as connection:
        return list(related_pairs(connection, allowed, chosen, period))


def visits(history: list[Any]) -> int:
    """How many places the events after the first one take: the first of consecutive events on one note takes one, the others none."""
    return sum(one[1] != two[1] for one, two in pairwise(history))


def brute_force(
    events: Iterable[Event], allowed: Iterable[str], chosen: PairSettings, period: Period
) -> dict[tuple[str, str], Fraction]:
    histories = defaultdict(list)
    for user, note, kind, at in events:
        if note in set(allowed) and (period.start is None or at >= period.start) and (period.end is None or at < period.end):
            histories[user].append((at, note, kind is None, kind))
    users = defaultdict(list)  # (A, B) -> 1 / N_u of each user who viewed A and then clicked B
    for history in histories.values():
        history.sort()
        clicked = {note for _, note, _, kind in history if chosen.click_events is None or kind in chosen.click_events}
        followed = {
            (a[1], b[1])
            for place, a in enumerate(history)
            for later, b in enumerate(history[place + 1 :], start=place + 1)
            if a[1] != b[1] and b[1] in clicked
            and (chosen.successors is None or visits(history[place : later + 1]) <= chosen.successors)
            and (chosen.window_hours is None or b[0] - a[0] <= chosen.window_hours * HOUR)
            and (chosen.view_events is None or a[3] in chosen.view_events)
            and (chosen.click_events is None or b[3] in chosen.click_events)
        }  # fmt: skip
        for pair in followed:
            users[pair].append(Fraction(1, len(clicked)))
    low, high = (Fraction(str(bound)) for bound in (chosen.min_score, chosen.max_score))
    scores = {pair: sum(shares, Fraction()) for pair, shares in users.items() if len(shares) >= chosen.min_users}
    ranked = sorted((pair for pair, score in scores.items() if low <= score <= high), key=lambda pair: (-scores[pair], pair))
    kept: dict[str, list[str]] = defaultdict(list)
    for source, target in ranked:
        kept[source] += [target] if len(kept[source]) < chosen.per_note else []
    return {pair: scores[pair] for pair in ranked if pair[1] in kept[pair[0]]}


events = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w"]),
        st.sampled_from("abcde"),
        st.sampled_from(["view", "click", "share", None]),
        st.integers(0, 6).map(lambda hours: hours * HOUR),  # few moments: many events at the same time
    ),
    max_size=25,
)
types = st.none() | st.lists(st.sampled_from(["view", "click", "share"]), min_size=1, max_size=2, unique=True)
choices = st.fixed_dictionaries(
    {
        "per_note": st.integers(1, 3),
        "min_score": st.sampled_from([0.0, 0.01, 0.25, 0.5]),
        "max_score": st.sampled_from([0.75, 1.0, 2.0, 30.0]),
        "min_users": st.integers(1, 2),
        "successors": st.sampled_from([1, 2, 3, 100, None]),
        "window_hours": st.none() | st.integers(1, 5),
        "view_events": types,
        "click_events": types,
    }
)
borders = st.none() | st.integers(0, 6).map(lambda hours: hours * HOUR)


@settings(max_examples=100, deadline=None)
@given(events, st.sets(st.sampled_from("abcde")), choices, st.builds(Period, borders, borders))
def test_pairs_are_those_of_brute_force(
    events: list[Event], allowed: set[str], changes: dict[str, Any], period: Period
) -> None:
    chosen = PairSettings.model_validate(changes)
    expected = brute_force(events, allowed, chosen, period)
    with log(events) as connection:
        pairs = related_pairs(connection, allowed, chosen, period)
    assert [(pair.source, pair.target) for pair in pairs] == [*expected]  # the order too
    assert [pair.score for pair in pairs] == pytest.approx([float(score) for score in expected.values()])


# u goes a, b, c; v goes a, c: N_u = 3, N_v = 2.
SMALL: list[Event] = [("u", "a", None, 1), ("u", "b", None, 2), ("u", "c", None, 3), ("v", "a", None, 1), ("v", "c", None, 2)]


def test_a_small_log_by_hand() -> None:
    pairs = found(SMALL)
    assert [(pair.source, pair.target) for pair in pairs] == [("a", "c"), ("a", "b"), ("b", "c")]
    assert [pair.score for pair in pairs] == pytest.approx([1 / 3 + 1 / 2, 1 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"min_score": 0.4}, ["ac"]),
        ({"max_score": 0.4}, ["ab", "bc"]),
        ({"min_users": 2}, ["ac"]),
        ({"per_note": 1}, ["ac", "bc"]),
        ({"successors": 1}, ["ac", "ab", "bc"]),  # a → c of v alone, 1/2
        ({"window_hours": 1.5 / HOUR}, ["ac", "ab", "bc"]),
        ({"window_hours": 0.5 / HOUR}, []),
    ],
)
def test_each_setting_alone(changes: dict[str, Any], left: list[str]) -> None:
    assert [pair.source + pair.target for pair in found(SMALL, **changes)] == left


def test_both_bounds_of_the_score_are_kept() -> None:
    thirds = [(f"u{user}", note, None, float(place)) for user in range(90) for place, note in enumerate("abc")]
    assert {pair.score for pair in found(thirds)} == {30.0}
    assert len(found(thirds, max_score=30)) == len(found(thirds, min_score=30)) == 3


def test_a_user_counts_once_for_a_pair() -> None:
    repeated = [("u", note, None, float(place)) for place, note in enumerate("abababab")]
    assert found(repeated) == [Pair("a", "b", 0.5), Pair("b", "a", 0.5)]


def test_repeated_events_on_one_note_take_one_place() -> None:
    """Progress events of a video would otherwise use up the places of the notes that follow."""
    once = [("u", note, None, float(60 * place)) for place, note in enumerate("abcdef")]
    beats: list[Event] = [("u", note, None, at + 5 * beat) for _, note, _, at in once for beat in range(12)]
    assert found(beats, successors=5) == found(once, successors=5)
    assert len(found(beats, successors=5)) == 15
    assert found(beats, successors=1) == found(once, successors=1)


def test_the_first_click_after_the_last_view_is_the_closest() -> None:
    visits: list[Event] = [("u", "a", "view", 0), ("u", "a", "view", 100), ("u", "b", "view", 110), ("u", "b", "click", 120)]
    chosen: dict[str, Any] = {"view_events": ["view"], "click_events": ["click"], "successors": 1}
    assert [pair.target for pair in found(visits, **chosen, window_hours=20 / HOUR)] == ["b"]
    assert found(visits, **chosen, window_hours=19 / HOUR) == []


def test_without_a_cap_every_later_click_counts() -> None:
    """As in the paper: a view, twelve other views, and then a click."""
    notes = [f"n{place:02}" for place in range(14)]
    views: list[Event] = [("u", note, "view", float(place)) for place, note in enumerate(notes[:-1])]
    visits: list[Event] = [*views, ("u", notes[-1], "click", 13.0)]
    chosen: dict[str, Any] = {"view_events": ["view"], "click_events": ["click"]}
    assert len(found(visits, notes, **chosen, successors=None)) == 13
    assert len(found(visits, notes, **chosen, successors=10)) == 10
    assert len(found(visits, notes, **chosen, successors=None, window_hours=5 / HOUR)) == 5


def test_events_at_one_moment_follow_each_other_in_the_order_of_their_notes() -> None:
    assert found([("u", "b", None, 1), ("u", "a", None, 1)]) == [Pair("a", "b", 0.5)]


def test_only_clicks_count_for_the_size_of_a_user() -> None:
    mixed: list[Event] = [("u", "a", "view", 1), ("u", "b", "view", 2), ("u", "c", "click", 3), ("u", "d", "click", 4)]
    pairs = found(mixed, view_events=["view"], click_events=["click"])
    assert {(pair.source, pair.target): pair.score for pair in pairs} == dict.fromkeys(
        [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")], 0.5
    )


def test_notes_that_are_not_allowed_count_neither_as_events_nor_for_the_size() -> None:
    assert found(SMALL, allowed="ac") == [Pair("a", "c", 1.0)]
    assert found(SMALL, allowed="ac", successors=1) == [Pair("a", "c", 1.0)]  # b takes no place either


def test_the_end_of_a_period_is_outside_it() -> None:
    assert [pair.source + pair.target for pair in found(SMALL, period=Period(2, 3))] == []
    assert [pair.source + pair.target for pair in found(SMALL, period=Period(2, 4))] == ["bc"]
    assert [pair.source + pair.target for pair in found(SMALL, period=Period(None, 3))] == ["ab", "ac"]


@pytest.mark.parametrize("successors", [1, 4])
def test_a_heavy_user_gives_as_many_pairs_as_events_times_successors(successors: int) -> None:
    count = 500
    notes = [f"n{place:03}" for place in range(count)]
    pairs = found([("u", note, None, float(place)) for place, note in enumerate(notes)], notes, successors=successors)
    assert len(pairs) == successors * count - successors * (successors + 1) // 2
    assert max(int(pair.target[1:]) - int(pair.source[1:]) for pair in pairs) == successors


def test_the_order_does_not_depend_on_the_number_of_threads() -> None:
    crowd = [
        (f"u{user}", f"n{(user * 7 + place * (1 + user % 3)) % 40}", None, float(place))
        for user in range(300)
        for place in range(9)
    ]
    orders = []
    for threads in (1, 4):
        with log(crowd) as connection:
            connection.execute(f"set threads = {threads}")
            connection.execute("set preserve_insertion_order = false")
            orders.append(related_pairs(connection, [f"n{number}" for number in range(40)], PairSettings()))
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"min_users": 3},
        {"min_score": 0.9},
        {"max_score": 0.1},
        {"view_events": ["wave"]},
        {"click_events": ["wave"]},
        {"view_events": []},
    ],
)
def test_settings_that_leave_nothing(changes: dict[str, Any]) -> None:
    assert found(SMALL, **changes) == []


@pytest.mark.parametrize("allowed", ["", "a", "xyz"])
def test_notes_that_leave_nothing(allowed: str) -> None:
    assert found(SMALL, allowed=allowed) == []
    assert found([], allowed="abc") == []


def test_the_table_holds_what_is_returned() -> None:
    with log(SMALL) as connection:
        chosen = PairSettings.model_validate(EVERYTHING)
        assert select_pairs(connection, "abc", chosen) == 3
        rows = connection.execute("select source, target, score from pairs order by score desc, source, target").fetchall()
        assert tuple(Pair(*row) for row in rows) == related_pairs(connection, "abc", chosen)


def test_a_range_without_scores_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"min_score 2\.0 is above max_score 1\.0: every pair would be dropped"):
        PairSettings(min_score=2, max_score=1)
