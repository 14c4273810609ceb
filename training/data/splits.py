"""`Split`: which notes are for training, for validation and for testing. No note is in two parts.

Every test note is cold: training sees neither the note nor what users did with it.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.data.pairs import Period
from training.errors import DataError

SplitName = Literal["train", "validation", "test"]


class SplitSettings(BaseModel):
    """How notes are distributed over the parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["notes", "time"] = Field(
        default="notes",
        description="`notes`: by a hash of the id, so that a note keeps its part when notes are added. `time`: the newest notes, and "
        "what users did from then on, are for testing, and those before them for validation.",
    )
    validation: float = Field(default=0.05, ge=0, lt=1, description="Share of the notes for validation.")
    test: float = Field(default=0.15, ge=0, lt=1, description="Share of the notes for testing.")
    seed: int = Field(default=0, description="Seed of the hash.")

    @model_validator(mode="after")
    def _leaves_training_notes(self) -> "SplitSettings":
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation} and test {self.test} leave no notes to train on")
        return self


@dataclass(frozen=True)
class Split:
    """The ids of each part's notes, and the period from which each part may use events.

    Attributes:
        order: the ids of all notes in the order of time, if they were split by it; otherwise empty.
    """

    train: frozenset[str]
    validation: frozenset[str]
    test: frozenset[str]
    periods: tuple[Period, Period, Period] = (Period(), Period(), Period())
    order: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            if shared := self.of(first) & self.of(second):  # type: ignore[arg-type]
                raise DataError(f"{len(shared)} notes are in both {first} and {second}, for example {min(shared)}")

    def of(self, name: SplitName) -> frozenset[str]:
        """The notes of one part."""
        notes: frozenset[str] = getattr(self, name)
        return notes

    def in_order(self, name: SplitName) -> list[str]:
        """The notes of one part, oldest first if they were split by time, else by id."""
        part = self.of(name)
        return [note for note in self.order if note in part] if self.order else sorted(part)

    def period(self, name: SplitName) -> Period:
        """The period of one part's events."""
        return self.periods[("train", "validation", "test").index(name)]


def split_by_notes(notes: Iterable[str], settings: SplitSettings) -> Split:
    """Distributes notes by the SHA-256 of the seed and the id."""
    parts: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
    for note in notes:
        digest = hashlib.sha256(f"{settings.seed}:{note}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        part = "test" if place < settings.test else "validation" if place < settings.test + settings.validation else "train"
        parts[part].add(note)
    return Split(frozenset(parts["train"]), frozenset(parts["validation"]), frozenset(parts["test"]))


def split_by_time(first_seen: Mapping[str, float], settings: SplitSettings) -> Split:
    """Distributes notes by the time at which they appeared.

    Args:
        first_seen: when each note was published or had its first event, in seconds since 1970.
        settings: the shares.
    """
    ordered = sorted(first_seen, key=lambda note: (first_seen[note], note))
    cuts = [
        first_seen[ordered[-later]] if (later := round(len(ordered) * share)) else math.inf
        for share in (settings.test + settings.validation, settings.test)
    ]
    parts: list[set[str]] = [set(), set(), set()]
    for note in ordered:
        parts[sum(first_seen[note] >= cut for cut in cuts)].add(note)
    periods = (Period(None, cuts[0]), Period(cuts[0], cuts[1]), Period(cuts[1], None))
    train, validation, test = map(frozenset, parts)
    return Split(train, validation, test, periods, tuple(ordered))
