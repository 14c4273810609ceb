"""`MigrationStatus`: where a migration stands."""

from dataclasses import dataclass
from typing import Literal

from service.index import Move

# Share of the time that a back-fill works, unless the operator asks for another.
DEFAULT_SHARE = 0.5
Phase = Literal["none", "loading", "filling", "filled", "switched"]


@dataclass(frozen=True)
class MigrationStatus:
    """Where a migration stands.

    Attributes:
        phase: `filled` means that every note has a vector of the target, `switched` that the target answers.
        move: the models; None if there is no migration.
        notes: number of stored notes.
        lacking: estimate of the notes that lack a vector of the model that does not answer.
        filled: vectors that this process has added.
        failed: notes that a model cannot embed.
        error: what keeps the migration from going on.
    """

    phase: Phase
    move: Move | None
    notes: int
    lacking: int
    filled: int
    failed: int
    error: str | None
