"""`Dataset`: notes, their split, and the related pairs of each part."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from notellm.note import Note
from training.data.events import EventLog, open_events
from training.data.notes import fingerprint, read_valid_notes
from training.data.pairs import Pair, PairSettings, related_pairs
from training.data.splits import Split, SplitName, SplitSettings, split_by_notes, split_by_time
from training.errors import DataError

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class DataSettings(BaseModel):
    """Where the notes and the log are, and what is made of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    notes: Path = Field(description="Notes: .parquet, .jsonl or .csv (.gz too); docs/data.md lists the columns.")
    events: Path = Field(description="The behaviour log: .parquet, .jsonl or .csv (.gz too).")
    split: SplitSettings = SplitSettings()
    pairs: PairSettings = PairSettings()
    drop_invalid: bool = Field(
        default=False, description="Leave invalid rows out and count them, instead of refusing the file."
    )


@dataclass(frozen=True)
class Dataset:
    """What a run learns from and is judged by.

    Attributes:
        notes: every valid note by id.
        split: which notes are in which part.
        pairs: directed, highest score first; both notes are in that part.
        exposure: interactions of each note in the whole log; 0 when there are none.
        fingerprint: SHA-256 (hex) of the notes and the events.
        dropped: invalid rows that were left out, by file and reason.
    """

    notes: dict[str, Note]
    split: Split
    pairs: dict[SplitName, tuple[Pair, ...]]
    exposure: dict[str, int]
    fingerprint: str
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, pairs in self.pairs.items():
            allowed = self.split.of(name)
            for pair in pairs:
                if pair.source not in allowed or pair.target not in allowed:
                    raise DataError(f"the pair {pair.source} → {pair.target} of {name} has a note of another part")


def load_dataset(settings: DataSettings) -> Dataset:
    """Reads, checks and splits the data, and finds the related pairs of each part.

    Raises:
        DataError: a file breaks its format, or there is nothing to learn from.
    """
    notes, dropped = read_valid_notes(settings.notes, drop_invalid=settings.drop_invalid)
    log = open_events(settings.events, notes, drop_invalid=settings.drop_invalid)
    split = _split(notes, log, settings)
    if settings.pairs.window_hours and not log.has_times:
        raise DataError(f"{settings.events} has positions and no times: leave pairs.window_hours out")
    pairs = {name: related_pairs(log.connection, split.of(name), settings.pairs, split.period(name)) for name in SPLITS}
    if not pairs["train"]:
        raise DataError(
            f"the {log.count():,} events of {settings.events} make no related pair between training notes: lower "
            "pairs.min_users or pairs.min_score, raise pairs.max_score, or bring a longer log"
        )
    exposure = dict.fromkeys(notes, 0) | log.exposure()
    digest = hashlib.sha256(f"{fingerprint(notes.values())} {log.fingerprint()}".encode()).hexdigest()
    return Dataset(notes, split, pairs, exposure, digest, {"notes": dropped, "events": log.dropped})


def _split(notes: dict[str, Note], log: EventLog, settings: DataSettings) -> Split:
    if settings.split.kind == "notes":
        return split_by_notes(notes, settings.split)
    if not log.has_times:
        raise DataError(f"{settings.events} has positions and no times: it cannot be split by time, choose split.kind: notes")
    seen = log.first_seen()
    created = {note.id: note.created_at.timestamp() for note in notes.values() if note.created_at is not None}
    return split_by_time(seen | created, settings.split)
