"""`Dataset`: the notes, their split, and the related pairs of each part."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from notellm.note import Note
from training.data.cooccurrences import Cooccurrences, CooccurrenceSettings
from training.data.events import EventLog, open_events
from training.data.notes import fingerprint, read_valid_notes
from training.data.pairs import Pair, PairSettings, related_pairs
from training.data.splits import Split, SplitName, SplitSettings, split_by_notes, split_by_time
from training.errors import DataError

PairKind = Literal["related", "cooccurrences"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class DataSettings(BaseModel):
    """Where the notes and the behaviour log are, and how to split them and find pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    notes: Path = Field(description="Notes: .parquet, .jsonl or .csv, also with .gz; docs/data.md lists the columns.")
    events: Path = Field(description="The behaviour log: .parquet, .jsonl or .csv, also with .gz.")
    split: SplitSettings = SplitSettings()
    pairs: PairSettings = PairSettings()
    cooccurrences: CooccurrenceSettings = CooccurrenceSettings()
    drop_invalid: bool = Field(default=False, description="Drop and count invalid rows instead of refusing the file.")


@dataclass(frozen=True)
class Dataset:
    """The data that a run is trained and evaluated on.

    Attributes:
        notes: every valid note by id.
        split: which notes are in which part.
        pairs: directed pairs of each part, highest score first; both notes are in the part.
        cooccurrences: all pairs of training notes that were visited after each other, and all pairs of validation notes.
        exposure: number of interactions of each note in the whole log, 0 if none.
        fingerprint: SHA-256 (hex) of the notes and the events.
        dropped: number of invalid rows that were dropped, by file and reason.
    """

    notes: dict[str, Note]
    split: Split
    pairs: dict[SplitName, tuple[Pair, ...]]
    cooccurrences: dict[SplitName, Cooccurrences]
    exposure: dict[str, int]
    fingerprint: str
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, pairs in self.pairs.items():
            allowed = self.split.of(name)
            for pair in pairs:
                if pair.source not in allowed or pair.target not in allowed:
                    raise DataError(f"the pair {pair.source} → {pair.target} of {name} has a note from another part")

    def pairs_of(self, name: SplitName, kind: PairKind) -> tuple[Pair, ...]:
        """The related pairs of a part, or its co-occurrences, each pair of notes once; highest score first."""
        return self.pairs[name] if kind == "related" else _as_pairs(self.cooccurrences[name])


def load_dataset(settings: DataSettings) -> Dataset:
    """Reads, checks and splits the data, and finds the related pairs of each part.

    Raises:
        DataError: a file breaks its format, or the data contain nothing to learn from.
    """
    notes, dropped = read_valid_notes(settings.notes, drop_invalid=settings.drop_invalid)
    log = open_events(settings.events, notes, drop_invalid=settings.drop_invalid)
    split = _split(notes, log, settings)
    if settings.pairs.window_hours and not log.has_times:
        raise DataError(f"{settings.events} has positions but no times: remove pairs.window_hours")
    pairs: dict[SplitName, tuple[Pair, ...]] = {}
    cooccurrences: dict[SplitName, Cooccurrences] = {}
    for name in SPLITS:
        pairs[name] = related_pairs(log.connection, split.of(name), settings.pairs, split.period(name))
        if name != "test":
            cooccurrences[name] = Cooccurrences.read(log.connection, split.of(name), settings.cooccurrences)
    if not pairs["train"]:
        raise DataError(
            f"the {log.count():,} events of {settings.events} give no related pair of training notes: lower "
            "pairs.min_users or pairs.min_score, raise pairs.max_score, or use a longer log"
        )
    exposure = dict.fromkeys(notes, 0) | log.exposure()
    digest = hashlib.sha256(f"{fingerprint(notes.values())} {log.fingerprint()}".encode()).hexdigest()
    return Dataset(notes, split, pairs, cooccurrences, exposure, digest, {"notes": dropped, "events": log.dropped})


def _as_pairs(known: Cooccurrences) -> tuple[Pair, ...]:
    best_first = np.lexsort((known.second, known.first, -known.score))
    columns = (values[best_first].tolist() for values in (known.first, known.second, known.score))
    return tuple(Pair(known.notes[first], known.notes[second], score) for first, second, score in zip(*columns, strict=True))


def _split(notes: dict[str, Note], log: EventLog, settings: DataSettings) -> Split:
    if settings.split.kind == "notes":
        return split_by_notes(notes, settings.split)
    if not log.has_times:
        raise DataError(f"{settings.events} has positions but no times, so it cannot be split by time: set split.kind: notes")
    seen = log.first_seen()
    created = {note.id: note.created_at.timestamp() for note in notes.values() if note.created_at is not None}
    return split_by_time(seen | created, settings.split)
