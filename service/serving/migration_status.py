"""`MigrationStatus`: the state of a migration."""

from dataclasses import dataclass
from typing import Literal

from service.index import Move

# Default share of the time in which a back-fill works.
DEFAULT_SHARE = 0.5
Phase = Literal["none", "loading", "filling", "filled", "switched"]


@dataclass(frozen=True)
class MigrationStatus:
    """The state of a migration.

    Attributes:
        phase: `filled` means that every note has a vector of the target, `switched` that the target answers.
        move: the two models; None if there is no migration.
        notes: number of stored notes.
        lacking: number of notes without a vector of the model that does not answer.
        filled: number of vectors that this process has added.
        failed: number of notes that a model cannot embed.
        error: the problem that stops the migration; None if there is none.
    """

    phase: Phase
    move: Move | None
    notes: int
    lacking: int
    filled: int
    failed: int
    error: str | None
