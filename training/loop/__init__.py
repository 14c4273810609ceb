"""The training loop, and how to resume it after an interruption."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from training.loop.planned_batches import PlannedBatches as PlannedBatches
    from training.loop.resuming import (
        DATA as DATA,
        early_stopping as early_stopping,
        forget_lines_after as forget_lines_after,
        log_lines as log_lines,
        recalls as recalls,
        refuse_other_data as refuse_other_data,
        refuse_used as refuse_used,
        state_to_resume as state_to_resume,
        take_over_if_finished as take_over_if_finished,
    )
    from training.loop.state import saving as saving
    from training.loop.trainer import NoteTrainer as NoteTrainer
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".resuming": (
                "DATA",
                "early_stopping",
                "forget_lines_after",
                "log_lines",
                "recalls",
                "refuse_other_data",
                "refuse_used",
                "state_to_resume",
                "take_over_if_finished",
            ),
            ".planned_batches": ("PlannedBatches",),
            ".state": ("saving",),
            ".trainer": ("NoteTrainer",),
        },
    )
