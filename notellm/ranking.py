"""`ChoiceSearch` and `ChoiceRanker`: which of a fixed list of continuations (a vocabulary of hashtags) is likeliest."""

import heapq
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from notellm.forward import Layers, Pack, PackedForward, read_prefix
from notellm.trie import TokenTrie

BEAMS = 8
# A note with many hashtags of its own must not cost more than this many notes without.
MOST_BEAMS = 4 * BEAMS

Likeliest = Sequence[tuple[int, float]]
"""Tokens that may come next and their log-probabilities."""


@dataclass(frozen=True)
class RankedChoice:
    """A continuation without its end of sequence, and the log-probability of it and its end after the prompt.

    Among all that the model could write, not among the choices alone: where none of them fits, all are unlikely.
    """

    ids: tuple[int, ...]
    log_probability: float


class ChoiceSearch:
    """Beam search through a trie, without a model: whoever has one tells what is likely after the `live` beginnings.

    A choice whose every beginning stays among the likeliest beginnings of its length is found; with as many beams as choices the
    search is exact.

    Args:
        choices: what may follow.
        count: how many to find, at least 1.
        exclude: choices that are not wanted.
        beams: beginnings that are followed at the same time; 8, or more where `count` and `exclude` ask for more.
    """

    def __init__(
        self, choices: TokenTrie, count: int, *, exclude: Collection[tuple[int, ...]] = (), beams: int | None = None
    ) -> None:
        self._choices = choices
        self._count = count
        self._exclude = exclude
        self._width = beams or max(BEAMS, count, min(count + len(exclude), MOST_BEAMS))
        self.live = [RankedChoice((), 0.0)]
        """Beginnings that are still followed; none when the search is over."""
        self.found: list[RankedChoice] = []
        """The likeliest choices so far, best first."""

    @property
    def wanted(self) -> int:
        """How many of the likeliest tokens after each beginning are enough: one more than are followed, since each may also end."""
        return self._width + 1

    def following(self, beam: RankedChoice) -> list[int]:
        """The tokens that may come after a beginning."""
        return self._choices.following(beam.ids)

    def advance(self, likeliest: Sequence[Likeliest]) -> None:
        """Takes, for each of `live`, the `wanted` likeliest of the tokens that may follow, and goes on by one token."""
        everything = (
            RankedChoice((*beam.ids, token), beam.log_probability + added)
            for beam, tokens in zip(self.live, likeliest, strict=True)
            for token, added in tokens
        )
        grown = heapq.nlargest(self._width + len(self.live), everything, key=_log_probability)
        ended = (RankedChoice(beam.ids[:-1], beam.log_probability) for beam in grown if self._choices.ends(beam.ids))
        found = [*self.found, *(choice for choice in ended if choice.ids not in self._exclude)]
        self.found = heapq.nlargest(self._count, found, key=_log_probability)
        # What is written can only get less likely: no beam below the last of enough finds can overtake it.
        least = self.found[-1].log_probability if len(self.found) == self._count else -math.inf
        self.live = [beam for beam in grown if not self._choices.ends(beam.ids) and beam.log_probability > least][: self._width]


class ChoiceRanker:
    """Ranks by a model whose layers are at hand: the prompt computed once, its keys and values shared by all beams.

    Safe to use from several threads.

    Args:
        layers: shared, not copied.
    """

    def __init__(self, layers: Layers[Any]) -> None:
        self._layers = layers

    def rank(
        self, prompt: Sequence[int], choices: TokenTrie, count: int, *,
        exclude: Collection[tuple[int, ...]] = (), beams: int | None = None,
    ) -> list[RankedChoice]:  # fmt: skip
        """The likeliest choices after a prompt, best first; fewer than `count` where the search finds no more.

        Args:
            prompt: token ids.
            choices: see `ChoiceSearch`.
            count: as there.
            exclude: as there.
            beams: as there.

        Raises:
            FloatingPointError: the model gives numbers that are not finite.
        """
        search = ChoiceSearch(choices, count, exclude=exclude, beams=beams)
        for _ in self.steps(prompt, search):
            pass
        return search.found

    @torch.inference_mode()
    def steps(self, prompt: Sequence[int], search: ChoiceSearch) -> Iterator[None]:
        """Brings a search to its end, a forward pass a step; the first is that of the prompt.

        Raises:
            FloatingPointError: see `rank`.
        """
        read = read_prefix(self._layers, prompt)
        forward = PackedForward(self._layers, read.prefix)
        states = read.state[None]
        while True:
            search.advance(list(self._likeliest(search, states)))
            yield
            if not search.live:
                return
            # Their few tokens are computed anew at each length: cheaper than to copy and reorder a cache a beam.
            states = forward(Pack.of([beam.ids for beam in search.live], read.prefix.length, self._layers.device))

    def _likeliest(self, search: ChoiceSearch, states: Tensor) -> Iterator[Likeliest]:
        log_probabilities = self._layers.logits(states).float().log_softmax(-1)
        if not log_probabilities.isfinite().all():
            raise FloatingPointError("the model gives probabilities that are not finite")
        for beam, row in zip(search.live, log_probabilities, strict=True):
            following = torch.tensor(search.following(beam), device=row.device)
            best = row[following].topk(min(search.wanted, len(following)))
            yield list(zip(following[best.indices].tolist(), best.values.tolist(), strict=True))


def _log_probability(choice: RankedChoice) -> float:
    return choice.log_probability
