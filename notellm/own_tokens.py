"""`PromptFrame`: tells a note's own tokens from those of the prompt around them."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

Ids = tuple[int, ...]


class PromptFrame(BaseModel):
    """The literal tokens of an embedding prompt.

    Attributes:
        opening: what every prompt starts with.
        labels: what stands before each field after the title, in prompt order.
        closing: what stands between the last field and `[EMB]`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    opening: Ids
    labels: tuple[Ids, ...]
    closing: Ids

    def own(self, ids: Sequence[int]) -> list[int]:
        """The note's own tokens.

        Args:
            ids: a prompt after its opening, which may differ between tasks, up to the token before `[EMB]`.
        """
        end = len(ids) - len(self.closing)
        if tuple(ids[max(end, 0) :]) != self.closing:
            end = len(ids)
        kept: list[int] = []
        start = 0
        for label in self.labels:
            place = _find(ids, label, start, end)
            if place is not None:
                kept += ids[start:place]
                start = place + len(label)
        return [*kept, *ids[start:end]]


def _find(ids: Sequence[int], label: Ids, start: int, end: int) -> int | None:
    """Where the label first stands between `start` and `end`."""
    last = end - len(label)
    while start <= last:
        try:
            start = ids.index(label[0], start, last + 1)
        except ValueError:
            return None
        if tuple(ids[start : start + len(label)]) == label:
            return start
        start += 1
    return None
