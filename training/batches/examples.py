"""`BatchPlan`: which pairs are in each global batch, and which task each of its notes gets.

All decisions depend only on a seed and the number of the step. Every rank therefore plans the same batch without communication, and a
resumed run continues with the batches of an uninterrupted one.
"""

import logging
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from notellm.hashtags import MAX_COUNT
from notellm.note import Note
from training.data import Pair, PairKind
from training.errors import DataError

logger = logging.getLogger(__name__)
Task = Literal["category", "hashtags", "none"]


class ExampleSettings(BaseModel):
    """How pairs are put into batches, and which tasks their notes get."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs_per_batch: int = Field(default=64, ge=2, description="Pairs of a global batch, over all processes (paper: 64).")
    hashtag_share: float = Field(
        default=0.4, ge=0, le=1, description="r: share of a batch's notes that get the hashtag task (paper: 0.4)."
    )
    pairs: PairKind = Field(
        default="related",
        description="`related` pairs make batches, or all `cooccurrences`. Each pair is used once per epoch.",
    )
    stay_within: Literal["category"] | None = Field(
        default=None,
        description="`category`: a note has to find its partner among the notes of its own category, so that negatives are hard. Pairs "
        "of notes with different categories or without one are left out.",
    )
    epochs: int = Field(default=1, ge=1, description="Passes over the pairs.")
    max_batches: int | None = Field(
        default=None,
        ge=1,
        description="Stop after this many batches, for runs that need no whole pass over all co-occurrences.",
    )
    max_pairs: int | None = Field(default=None, ge=2, description="Keep only this many pairs, those with the highest score.")
    order: Literal["shuffled", "by_score"] = Field(
        default="shuffled", description="`by_score` starts each pass with the pairs that have the highest score."
    )


@dataclass(frozen=True)
class Asked:
    """The task of one note in a batch, and for the hashtag task the hashtags to generate."""

    note: str
    task: Task
    hashtags: tuple[str, ...] = ()


@dataclass(frozen=True)
class GlobalBatch:
    """The tasks of both notes of each pair: first notes and second notes, in the order of the pairs."""

    first: tuple[Asked, ...]
    second: tuple[Asked, ...]

    def shard(self, rank: int, ranks: int) -> tuple[Asked, ...]:
        """The share of one of `ranks` processes: the first notes of its pairs, then the second notes."""
        size = len(self.first) // ranks
        mine = slice(rank * size, (rank + 1) * size)
        return (*self.first[mine], *self.second[mine])


class BatchPlan(Sequence[GlobalBatch]):
    """All global batches of a run, in order.

    A note appears at most once in a batch, because it would be its own negative. Pairs that do not fit into the batches of an epoch
    come first in the next epoch. The last, incomplete batch of the run is dropped, because it would have fewer negatives.

    Args:
        pairs: A→B and B→A count once.
        notes: the notes by id.
        settings: sizes and shares.
        seed: seed of the order and of the tasks.

    Raises:
        DataError: there are not enough pairs for one batch.
    """

    def __init__(self, pairs: Sequence[Pair], notes: dict[str, Note], settings: ExampleSettings, seed: int) -> None:
        self._notes = notes
        self._settings = settings
        self._seed = seed
        everyone = undirected(pairs)
        inside = [pair for pair in everyone if self._stays(pair)]
        if len(inside) < len(everyone):
            logger.info("stay_within leaves out %d of %d pairs", len(everyone) - len(inside), len(everyone))
        kept = inside[: settings.max_pairs]
        self._batches = list(islice(self._pack(kept), settings.max_batches))
        if not self._batches:
            within, advice = (" within a category", ", or remove stay_within") if settings.stay_within else ("", "")
            raise DataError(
                f"{len(kept)} pairs{within} do not fill one batch of {settings.pairs_per_batch} pairs in which no note appears twice: "
                f"choose a smaller pairs_per_batch, or relax the pair settings (min_score, min_users){advice}"
            )

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, step: int) -> GlobalBatch:  # type: ignore[override]
        batch = self._batches[step]
        draw = random.Random(f"{self._seed}:tasks:{step}")  # noqa: S311
        asked = self._tasks([note for pair in batch for note in pair], draw)
        return GlobalBatch(tuple(asked[first] for first, _ in batch), tuple(asked[second] for _, second in batch))

    def _stays(self, pair: tuple[str, str]) -> bool:
        """Whether a pair may be in a batch."""
        first, second = (self._notes[note].category for note in pair)
        return self._settings.stay_within is None or (first is not None and first == second)

    def _pack(self, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], ...]]:
        """Fills batches greedily: a pair with a note that is already in the batch waits for the next one."""
        waiting: deque[tuple[str, str]] = deque()
        for epoch in range(self._settings.epochs):
            fresh = list(pairs)
            if self._settings.order == "shuffled":
                random.Random(f"{self._seed}:order:{epoch}").shuffle(fresh)  # noqa: S311
            waiting.extend(fresh)
            yield from _take_batches(waiting, self._settings.pairs_per_batch)

    def _tasks(self, ids: list[str], draw: random.Random) -> dict[str, Asked]:
        """Tasks for the notes of a batch, with a share r of hashtag tasks if enough notes have hashtags."""
        tagged = [note for note in ids if self._notes[note].all_hashtags]
        only_tagged = {note for note in tagged if self._notes[note].category is None}
        wanted = min(round(self._settings.hashtag_share * len(ids)), len(tagged)) if self._settings.hashtag_share else 0
        draw.shuffle(tagged)
        tagged.sort(key=lambda note: note not in only_tagged)
        chosen = set(tagged[: max(wanted, len(only_tagged) if wanted else 0)])
        return {note: self._task(self._notes[note], note in chosen, draw) for note in ids}

    def _task(self, note: Note, hashtags: bool, draw: random.Random) -> Asked:
        if not hashtags:
            category = note.category is not None and self._settings.hashtag_share < 1
            return Asked(note.id, "category" if category else "none")
        tags = note.all_hashtags
        count = draw.randint(1, min(len(tags), MAX_COUNT))
        return Asked(note.id, "hashtags", tuple(draw.sample(tags, count)))


def undirected(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """The pairs by score, highest first. A→B and B→A count as one pair with the higher of their scores."""
    ranked = sorted(pairs, key=lambda pair: (-pair.score, pair.source, pair.target))
    kept: dict[frozenset[str], tuple[str, str]] = {}
    for pair in ranked:
        kept.setdefault(frozenset((pair.source, pair.target)), (pair.source, pair.target))
    return list(kept.values())


def _take_batches(waiting: deque[tuple[str, str]], size: int) -> Iterator[tuple[tuple[str, str], ...]]:
    """Removes and yields full batches. The pairs that are left keep their order."""
    while len(batch := _take_disjoint(waiting, size)) == size:
        yield batch
    waiting.extendleft(reversed(batch))


def _take_disjoint(waiting: deque[tuple[str, str]], count: int) -> tuple[tuple[str, str], ...]:
    """Removes and returns the first `count` pairs that share no note, or fewer if there are fewer. The others keep their order."""
    batch: list[tuple[str, str]] = []
    skipped: list[tuple[str, str]] = []
    taken: set[str] = set()
    while waiting and len(batch) < count:
        pair = waiting.popleft()
        if taken.isdisjoint(pair):
            batch.append(pair)
            taken.update(pair)
        else:
            skipped.append(pair)
    waiting.extendleft(reversed(skipped))
    return tuple(batch)
