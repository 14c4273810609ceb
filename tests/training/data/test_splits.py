"""Splits, and that training sees nothing of validation and test notes."""

import csv
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from training.batches import BatchPlan
from training.config import TrainingConfig
from training.data.dataset import SPLITS, Dataset, DataSettings, load_dataset
from training.data.pairs import Pair, Period
from training.data.splits import Split, SplitSettings, split_by_notes, split_by_time
from training.errors import DataError

DAY = 24 * 3600


def assert_whole(split: Split, notes: set[str]) -> None:
    assert split.train | split.validation | split.test == notes
    assert len(split.train) + len(split.validation) + len(split.test) == len(notes)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text("ab1", max_size=3)), st.floats(0, 0.49), st.floats(0, 0.49), st.integers())
def test_every_note_is_in_one_part(notes: set[str], validation: float, test: float, seed: int) -> None:
    assert_whole(split_by_notes(notes, SplitSettings(validation=validation, test=test, seed=seed)), notes)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("ab1", max_size=3), st.integers(0, 9).map(float)), st.floats(0, 0.49), st.floats(0, 0.49))
def test_every_note_is_in_one_part_by_time(seen: dict[str, float], validation: float, test: float) -> None:
    split = split_by_time(seen, SplitSettings(kind="time", validation=validation, test=test))
    assert_whole(split, set(seen))
    for name in SPLITS:
        period = split.period(name)
        assert all((period.start or 0) <= seen[note] < (period.end or math.inf) for note in split.of(name))


def test_notes_stay_where_they_are_when_others_are_added() -> None:
    few, many = ({f"n{number}" for number in range(count)} for count in (300, 900))
    before, after = split_by_notes(few, SplitSettings()), split_by_notes(many, SplitSettings())
    assert all(before.of(name) == after.of(name) & few for name in SPLITS)
    assert split_by_notes(few, SplitSettings(seed=1)).test != before.test


def test_shares_are_about_right() -> None:
    split = split_by_notes((f"n{number}" for number in range(5000)), SplitSettings(validation=0.1, test=0.2))
    assert len(split.validation) / 5000 == pytest.approx(0.1, abs=0.015)
    assert len(split.test) / 5000 == pytest.approx(0.2, abs=0.02)


def test_a_time_split_tests_on_the_latest_notes() -> None:
    seen = {f"n{day}": float(day * DAY) for day in range(10)}
    split = split_by_time(seen, SplitSettings(kind="time", validation=0.2, test=0.3))
    assert split.validation == {"n5", "n6"}
    assert split.test == {"n7", "n8", "n9"}
    assert split.periods == (Period(None, 5 * DAY), Period(5 * DAY, 7 * DAY), Period(7 * DAY, None))
    assert [split.in_order(part) for part in ("train", "validation", "test")] == [
        sorted(split.of(part), key=seen.__getitem__) for part in ("train", "validation", "test")
    ]
    assert len(split.order) == len(seen)


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.5), (0.5, 0.0), (0.0, 0.0)])
def test_a_share_of_zero_is_no_note(validation: float, test: float) -> None:
    shares = SplitSettings(kind="time", validation=validation, test=test)
    for split in (
        split_by_time({f"n{day}": float(day) for day in range(10)}, shares),
        split_by_notes(map(str, range(99)), shares),
    ):
        assert bool(split.validation) == bool(validation)
        assert bool(split.test) == bool(test)


def test_shares_that_leave_no_training_notes_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"validation 0\.5 and test 0\.5 leave no notes to train on"):
        SplitSettings(validation=0.5, test=0.5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("ab", "bc", "d"), "1 notes are in both train and validation, for example b"),
        (("ab", "c", "ab"), "2 notes are in both train and test, for example a"),
        (("a", "bc", "c"), "1 notes are in both validation and test, for example c"),
    ],
)
def test_a_note_in_two_parts_is_refused(parts: tuple[str, str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Split(frozenset(parts[0]), frozenset(parts[1]), frozenset(parts[2]))


@pytest.mark.parametrize("pair", [Pair("a", "c", 1.0), Pair("c", "a", 1.0)])
def test_a_pair_across_parts_is_refused(pair: Pair) -> None:
    split = Split(frozenset("ab"), frozenset("c"), frozenset())
    with pytest.raises(DataError, match=f"the pair {pair.source} → {pair.target} of train has a note from another part"):
        Dataset({}, split, {"train": (pair,)}, {}, {}, "")


@pytest.fixture(scope="module")
def dataset(run_config: Callable[..., TrainingConfig]) -> Dataset:
    return load_dataset(run_config().data)


def test_no_test_note_takes_part_in_training(dataset: Dataset, run_config: Callable[..., TrainingConfig]) -> None:
    config = run_config(examples__epochs=3, examples__pairs_per_batch=4)
    assert dataset.split.test
    assert dataset.split.validation
    batches = [*BatchPlan(dataset.pairs["train"], dataset.notes, config.examples, config.seed)]
    assert len(batches) > 3
    assert {asked.note for batch in batches for asked in (*batch.first, *batch.second)} <= dataset.split.train
    for name in SPLITS:
        assert dataset.pairs[name]
        assert {note for pair in dataset.pairs[name] for note in (pair.source, pair.target)} <= dataset.split.of(name)


def test_what_users_do_with_test_notes_changes_no_training_pair(
    dataset: Dataset, run_config: Callable[..., TrainingConfig], platform: Path, tmp_path: Path
) -> None:
    with (platform / "events.csv").open(encoding="utf-8", newline="") as stream:
        events = [row for row in csv.reader(stream) if row[0] != "user"]
    draw = random.Random(1)
    held_out = sorted(dataset.split.test | dataset.split.validation)
    users = sorted({user for user, _, _ in events})
    more = [(draw.choice(users), draw.choice(held_out), draw.randrange(9)) for _ in range(500)]  # N_u would rise
    for name, rows in (("more", [*events, *more]), ("fewer", [row for row in events if row[1] not in dataset.split.test])):
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("user", "note", "position"), *rows])
        other = load_dataset(run_config(data__events=str(tmp_path / f"{name}.csv")).data)
        assert other.pairs["train"] == dataset.pairs["train"]
        assert other.pairs["test"] != dataset.pairs["test"]
        assert other.exposure != dataset.exposure
        assert other.fingerprint != dataset.fingerprint


def timed_platform(folder: Path, column: str = "time") -> DataSettings:
    """Forty notes, one a day; each user sees five consecutive ones on the days after."""
    lines = (json.dumps({"id": f"n{day:02}", "title": f"day {day}"}) for day in range(40))
    (folder / "notes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("user", "note", column))
        writer.writerows(
            (f"u{first}", f"n{first + step:02}", (first + step) * DAY + first) for first in range(36) for step in range(5)
        )
    return DataSettings.model_validate(
        {
            "notes": folder / "notes.jsonl",
            "events": folder / "events.csv",
            "split": {"kind": "time", "validation": 0.25, "test": 0.25},
        }
    )


def test_events_after_the_training_period_change_no_training_pair(tmp_path: Path) -> None:
    chosen = timed_platform(tmp_path)
    dataset = load_dataset(chosen)
    assert dataset.split.test == {f"n{day}" for day in range(30, 40)}
    with chosen.events.open("a", encoding="utf-8") as stream:
        stream.writelines(f"u{user},n{user % 20:02},{35 * DAY + user}\n" for user in range(36))  # old notes, late
    assert load_dataset(chosen).pairs["train"] == dataset.pairs["train"]


def test_a_log_without_times_is_not_split_by_time(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"positions but no times.*set split\.kind: notes"):
        load_dataset(timed_platform(tmp_path, column="position"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__pairs__window_hours": 3}, "positions but no times: remove pairs.window_hours"),
        ({"data__pairs__min_users": 500}, "1,280 events .* give no related pair of training notes: lower pairs.min_users"),
    ],
)
def test_data_that_do_not_fit_the_settings(
    run_config: Callable[..., TrainingConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(run_config(**changes).data)
