"""`Cooccurrences`: how often users went from one note to another, for all pairs of notes. Related pairs are the best of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

SQL = Path(__file__).with_name("cooccurrences.sql")
# A co-occurrence is kept if it is among the best of either of its notes.
_READ = """
with undirected as (
    select first.place as one, second.place as other, sum(score) as score
    from cooccurrences
    join places as first on first.note_id = least(source, target)
    join places as second on second.note_id = greatest(source, target)
    group by all
),
sides as (
    select one as note, one, other, score from undirected
    union all
    select other as note, one, other, score from undirected
),
ranked as (
    select one, other, score, row_number() over (partition by note order by score desc, one, other) as place from sides
)
select distinct one, other, round(score, 12) as score from ranked where $per_note is null or place <= $per_note order by one, other
"""


class CooccurrenceSettings(BaseModel):
    """Which co-occurrences are kept beside the related pairs. What counts as one is a setting of the pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_note: int | None = Field(
        default=1000,
        ge=1,
        description="A co-occurrence is kept if it is among this many best ones of one of its two notes; null: all are.",
    )


@dataclass(frozen=True)
class Cooccurrences:
    """How often notes were visited after each other, in either direction.

    Attributes:
        notes: ids, sorted.
        first, second: (co-occurrences,), places in `notes`, first < second. Each pair of notes appears once.
        score: (co-occurrences,), s(A → B) + s(B → A), above 0.
    """

    notes: tuple[str, ...]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]

    @classmethod
    def read(
        cls, connection: duckdb.DuckDBPyConnection, notes: Iterable[str], settings: CooccurrenceSettings
    ) -> "Cooccurrences":
        """Those that the last `select_cooccurrences` has left in the table `cooccurrences`.

        Args:
            connection: the one that they were selected with.
            notes: the ids that they were selected for.
            settings: how many are kept.
        """
        ids = sorted(notes)
        connection.execute("create or replace temp table places as select unnest(?::varchar[]) as note_id, 0 as place", [ids])
        connection.execute("update places set place = rowid")
        found = connection.execute(_READ, settings.model_dump()).fetchnumpy()
        return cls(
            tuple(ids),
            np.asarray(found["one"], np.int64),
            np.asarray(found["other"], np.int64),
            np.asarray(found["score"], np.float64),
        )

    def __len__(self) -> int:
        return len(self.score)

    def among(self, ids: Sequence[str], others: Sequence[str] = ()) -> npt.NDArray[np.float64]:
        """The scores of all pairs of some notes, and of these notes with others; 0 for pairs that do not co-occur.

        Args:
            ids: notes, all different.
            others: more notes, different from each other and from `ids`.

        Returns:
            (ids, ids and then others); the first columns are symmetric.
        """
        places = [self._place[note] for note in (*ids, *others)]
        column = np.full(len(self.notes), -1)
        column[places] = np.arange(len(places))
        scores = np.zeros((len(ids), len(places)))
        neighbours = self._scored
        for row, place in enumerate(places[: len(ids)]):
            columns = column[neighbours.others[neighbours.of(place)]]
            known = columns >= 0
            scores[row, columns[known]] = neighbours.values[neighbours.of(place)][known]
        return scores

    def of_most_frequent(self, count: int | None) -> "Cooccurrences":
        """Those between the `count` notes that occur in most of them; None for all notes."""
        if count is None or count >= len(self.notes):
            return self
        degrees = np.bincount(np.concatenate([self.first, self.second]), minlength=len(self.notes))
        kept = np.sort(np.argsort(-degrees, kind="stable")[:count])
        place = np.full(len(self.notes), -1)
        place[kept] = np.arange(count)
        chosen = (place[self.first] >= 0) & (place[self.second] >= 0)
        notes = tuple(self.notes[one] for one in kept.tolist())
        return Cooccurrences(notes, place[self.first[chosen]], place[self.second[chosen]], self.score[chosen])

    def neighbours(self, values: npt.NDArray[np.float64]) -> "Neighbours":
        """The co-occurrences by note; each appears with both of its notes.

        Args:
            values: (co-occurrences,), a number for each.
        """
        rows = np.concatenate([self.first, self.second])
        order = np.argsort(rows, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(self.notes)))])
        return Neighbours(starts, np.concatenate([self.second, self.first])[order], np.concatenate([values, values])[order])

    @cached_property
    def _place(self) -> dict[str, int]:
        return {note: place for place, note in enumerate(self.notes)}

    @cached_property
    def _scored(self) -> "Neighbours":
        return self.neighbours(self.score)


@dataclass(frozen=True)
class Neighbours:
    """Compressed sparse rows, one per note.

    Attributes:
        starts: (notes + 1,), where the neighbours of each note begin.
        others: (2 * co-occurrences,), their places.
        values: (2 * co-occurrences,).
    """

    starts: npt.NDArray[np.int64]
    others: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def of(self, place: int) -> slice:
        """Where the neighbours of one note are."""
        return slice(int(self.starts[place]), int(self.starts[place + 1]))


def select_cooccurrences(connection: duckdb.DuckDBPyConnection, notes: Iterable[str], parameters: dict[str, Any]) -> None:
    """Fills the table `cooccurrences`: source, target, score, users. There may be hundreds of millions.

    Args:
        connection: has the table `events` of `EventLog`.
        notes: ids; events of other notes are ignored in scores and in N_u.
        parameters: those of `cooccurrences.sql`.
    """
    connection.execute("create or replace temp table allowed_notes (note_id varchar)")
    connection.execute("insert into allowed_notes select unnest(?::varchar[])", [list(notes)])
    connection.execute(f"create or replace temp table cooccurrences as {SQL.read_text(encoding='utf-8')}", parameters)
