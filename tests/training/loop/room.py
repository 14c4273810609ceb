"""A disk that has no room left after a while."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

ROOM = 20_000


class LoseRoom(TrainerCallback):
    """After a step, no file may grow beyond some bytes: writing fails for real, as on a full disk."""

    def __init__(self, step: int, room: int) -> None:
        self.step, self.room = step, room

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, resource.RLIM_INFINITY))


@contextmanager
def room_again() -> Iterator[None]:
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
