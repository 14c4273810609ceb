"""Related pairs out of a behaviour log: one SQL statement, `pairs.sql`, run by DuckDB out of core."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
from pydantic import BaseModel, ConfigDict, Field, model_validator

SQL = Path(__file__).with_name("pairs.sql")
SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Pair:
    """Users who viewed `source` went on to click `target`."""

    source: str
    target: str
    score: float


class PairSettings(BaseModel):
    """Which co-occurrences make a related pair (arXiv 2403.01744, section 3.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_note: int = Field(default=10, ge=1, description="t: the best successors kept of each note (paper: 10).")
    max_score: float = Field(
        default=30.0, gt=0, description="u: higher scores are dropped as follow-ups of everything (paper: 30)."
    )
    min_score: float = Field(default=0.01, ge=0, description="l: lower scores are dropped as chance (paper: 0.01).")
    min_users: int = Field(
        default=1, ge=1, description="Users that a pair needs. In small logs one user alone is mostly chance."
    )
    successors: int = Field(default=10, ge=1, description="A click counts among this many next events of the user.")
    window_hours: float | None = Field(
        default=None, gt=0, description="Longest time from the view to the click (the paper's log: a week). Needs times."
    )
    view_events: tuple[str, ...] | None = Field(default=None, description="Event types that view a note; all when not given.")
    click_events: tuple[str, ...] | None = Field(default=None, description="Event types that click a note; all when not given.")

    @model_validator(mode="after")
    def _leaves_a_range(self) -> "PairSettings":
        if self.min_score > self.max_score:
            raise ValueError(f"min_score {self.min_score} is above max_score {self.max_score}: no pair could be kept")
        return self


@dataclass(frozen=True)
class Period:
    """start <= at < end, in seconds since 1970; none is unbounded."""

    start: float | None = None
    end: float | None = None


def related_pairs(
    connection: duckdb.DuckDBPyConnection, notes: Iterable[str], settings: PairSettings, period: Period = Period()
) -> tuple[Pair, ...]:
    """Pairs between the given notes, from events on the given notes alone, highest score first.

    Args:
        connection: holds the table `events` of `EventLog`.
        notes: ids; events on other notes count neither for scores nor for N_u.
        settings: thresholds and caps.
        period: events outside count neither.
    """
    select_pairs(connection, notes, settings, period)
    rows = connection.execute("select source, target, score from pairs order by score desc, source, target").fetchall()
    return tuple(Pair(*row) for row in rows)


def select_pairs(
    connection: duckdb.DuckDBPyConnection, notes: Iterable[str], settings: PairSettings, period: Period = Period()
) -> int:
    """As `related_pairs`, but leaves them in the table `pairs` and returns their number: there may be hundreds of millions."""
    connection.execute("create or replace temp table allowed_notes (note_id varchar)")
    connection.execute("insert into allowed_notes select unnest(?::varchar[])", [list(notes)])
    parameters = settings.model_dump(exclude={"window_hours"}) | {"start": period.start, "end": period.end}
    for name in ("view_events", "click_events"):
        parameters[name] = list(parameters[name]) if parameters[name] is not None else None
    parameters["window_seconds"] = settings.window_hours * SECONDS_AN_HOUR if settings.window_hours else None
    connection.execute(f"create or replace temp table pairs as {SQL.read_text(encoding='utf-8')}", parameters)
    (count,) = connection.execute("select count(*) from pairs").fetchall()[0]
    return int(count)
