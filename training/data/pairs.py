"""Finds related pairs in a behaviour log. DuckDB runs SQL (`cooccurrences.sql`, `pairs.sql`) on logs that may be larger than memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.data.cooccurrences import select_cooccurrences

SQL = Path(__file__).with_name("pairs.sql")
SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Pair:
    """A related pair: users who viewed `source` then clicked `target`."""

    source: str
    target: str
    score: float


class PairSettings(BaseModel):
    """Which co-occurrences are related pairs (arXiv 2403.01744, section 3.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_note: int = Field(default=10, ge=1, description="t: number of best successors to keep for each note (paper: 10).")
    max_score: float = Field(
        default=30.0,
        gt=0,
        description="u: pairs with a higher score are dropped: their target follows almost any note (paper: 30).",
    )
    min_score: float = Field(default=0.01, ge=0, description="l: pairs with a lower score are dropped as chance (paper: 0.01).")
    min_users: int = Field(
        default=1, ge=1, description="Pairs of fewer users are dropped. In small logs, pairs of one user are mostly chance."
    )
    successors: int | None = Field(
        default=10,
        ge=1,
        description="A click counts if it is on one of this many notes that the user visits next; null: on any later one (paper). "
        "Consecutive events of a user on one note are one visit.",
    )
    window_hours: float | None = Field(
        default=None, gt=0, description="Longest time from the view to the click (the paper's log: a week). Needs times."
    )
    view_events: tuple[str, ...] | None = Field(default=None, description="Event types that are views; by default all.")
    click_events: tuple[str, ...] | None = Field(default=None, description="Event types that are clicks; by default all.")

    @model_validator(mode="after")
    def _leaves_a_range(self) -> "PairSettings":
        if self.min_score > self.max_score:
            raise ValueError(f"min_score {self.min_score} is above max_score {self.max_score}: every pair would be dropped")
        return self


@dataclass(frozen=True)
class Period:
    """start <= at < end, in seconds since 1970; None means no bound."""

    start: float | None = None
    end: float | None = None


def related_pairs(
    connection: duckdb.DuckDBPyConnection, notes: Iterable[str], settings: PairSettings, period: Period = Period()
) -> tuple[Pair, ...]:
    """Pairs of the given notes, computed from the events of these notes only, highest score first.

    Args:
        connection: has the table `events` of `EventLog`.
        notes: ids; events of other notes are ignored in scores and in N_u.
        settings: thresholds and caps.
        period: events outside this period are ignored too.
    """
    select_pairs(connection, notes, settings, period)
    rows = connection.execute("select source, target, score from pairs order by score desc, source, target").fetchall()
    return tuple(Pair(*row) for row in rows)


def select_pairs(
    connection: duckdb.DuckDBPyConnection, notes: Iterable[str], settings: PairSettings, period: Period = Period()
) -> int:
    """Like `related_pairs`, but leaves the pairs in the table `pairs` and returns their number: there may be hundreds of millions.

    The table `cooccurrences` holds all pairs of notes, those below the thresholds too.
    """
    chosen = settings.model_dump()
    thresholds = {name: chosen.pop(name) for name in ("per_note", "min_users", "min_score", "max_score")}
    hours = chosen.pop("window_hours")
    bounds = {"start": period.start, "end": period.end, "window_seconds": hours * SECONDS_AN_HOUR if hours else None}
    events = {name: list(chosen[name]) if chosen[name] is not None else None for name in ("view_events", "click_events")}
    select_cooccurrences(connection, notes, chosen | events | bounds)
    connection.execute(f"create or replace temp table pairs as {SQL.read_text(encoding='utf-8')}", thresholds)
    (count,) = connection.execute("select count(*) from pairs").fetchall()[0]
    return int(count)
