"""`MigrationStatus`: where a migration stands."""

from dataclasses import dataclass
from typing import Literal

from service.index import Move

# Of the time that a back-fill works, if nothing else is asked for.
DEFAULT_SHARE = 0.5
Phase = Literal["none", "loading", "filling", "filled", "switched"]


@dataclass(frozen=True)
class MigrationStatus:
    """Where a migration stands.

    Attributes:
        phase: `filled` says that every note has a vector of the target; `switched` that the target answers.
        move: the models; None where there is no migration.
        notes: that are stored.
        lacking: estimate of those that lack a vector of the model that does not answer.
        filled: vectors that this process has added.
        failed: notes that a model cannot embed.
        error: what keeps it from going on.
    """

    phase: Phase
    move: Move | None
    notes: int
    lacking: int
    filled: int
    failed: int
    error: str | None
