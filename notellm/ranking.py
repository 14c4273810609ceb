"""`ChoiceSearch` and `ChoiceRanker` find the likeliest continuations in a fixed list, such as a vocabulary of hashtags."""

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
# Bounds the cost of a note that has many hashtags of its own.
MOST_BEAMS = 4 * BEAMS

Likeliest = Sequence[tuple[int, float]]
"""Tokens that may come next, each with its log-probability."""


@dataclass(frozen=True)
class RankedChoice:
    """A continuation without its end of sequence, and its log-probability after the prompt, end of sequence included.

    The probability is relative to all texts that the model could write, not to the other choices: if no choice fits, all are unlikely.
    """

    ids: tuple[int, ...]
    log_probability: float


class ChoiceSearch:
    """Beam search through a trie, without a model: the caller supplies the probabilities of the tokens after each `live` beam.

    The search finds every choice whose prefixes all stay among the likeliest of their length. With as many beams as choices, it is
    exact.

    Args:
        choices: the continuations to search.
        count: how many to find, at least 1.
        exclude: choices that must not be found.
        beams: how many prefixes are followed at the same time; by default 8, or more if `count` and `exclude` require it.
    """

    def __init__(
        self, choices: TokenTrie, count: int, *, exclude: Collection[tuple[int, ...]] = (), beams: int | None = None
    ) -> None:
        self._choices = choices
        self._count = count
        self._exclude = exclude
        self._width = beams or max(BEAMS, count, min(count + len(exclude), MOST_BEAMS))
        self.live = [RankedChoice((), 0.0)]
        """Prefixes that are still followed; empty when the search is over."""
        self.found: list[RankedChoice] = []
        """The likeliest choices so far, best first."""

    @property
    def wanted(self) -> int:
        """How many of the likeliest tokens `advance` needs after each beam: one more than the beams, since one may be the end."""
        return self._width + 1

    def following(self, beam: RankedChoice) -> list[int]:
        """The tokens that may come after a beam."""
        return self._choices.following(beam.ids)

    def advance(self, likeliest: Sequence[Likeliest]) -> None:
        """Extends the beams by one token.

        Args:
            likeliest: for each of `live`, the `wanted` likeliest of the tokens that may follow.
        """
        extended = (
            RankedChoice((*beam.ids, token), beam.log_probability + added)
            for beam, tokens in zip(self.live, likeliest, strict=True)
            for token, added in tokens
        )
        grown = heapq.nlargest(self._width + len(self.live), extended, key=_log_probability)
        ended = (RankedChoice(beam.ids[:-1], beam.log_probability) for beam in grown if self._choices.ends(beam.ids))
        found = [*self.found, *(choice for choice in ended if choice.ids not in self._exclude)]
        self.found = heapq.nlargest(self._count, found, key=_log_probability)
        # A beam only gets less likely as it grows. Once enough choices are found, one that is below the last of them cannot overtake it.
        least = self.found[-1].log_probability if len(self.found) == self._count else -math.inf
        self.live = [beam for beam in grown if not self._choices.ends(beam.ids) and beam.log_probability > least][: self._width]


class ChoiceRanker:
    """Ranks choices with a model's layers. The prompt is computed once, and all beams share its keys and values.

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
        """The likeliest choices after a prompt, best first; fewer than `count` if the search finds no more.

        Args:
            prompt: token ids.
            choices: see `ChoiceSearch`.
            count: see `ChoiceSearch`.
            exclude: see `ChoiceSearch`.
            beams: see `ChoiceSearch`.

        Raises:
            FloatingPointError: the model computes numbers that are not finite.
        """
        search = ChoiceSearch(choices, count, exclude=exclude, beams=beams)
        for _ in self.steps(prompt, search):
            pass
        return search.found

    @torch.inference_mode()
    def steps(self, prompt: Sequence[int], search: ChoiceSearch) -> Iterator[None]:
        """Runs a search to its end, one forward pass per step; the first step computes the prompt.

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
            # Computing the few tokens of each beam again is cheaper than copying and reordering one cache per beam.
            states = forward(Pack.of([beam.ids for beam in search.live], read.prefix.length, self._layers.device))

    def _likeliest(self, search: ChoiceSearch, states: Tensor) -> Iterator[Likeliest]:
        log_probabilities = self._layers.logits(states).float().log_softmax(-1)
        if not log_probabilities.isfinite().all():
            raise FloatingPointError("the model computes probabilities that are not finite")
        for beam, row in zip(search.live, log_probabilities, strict=True):
            following = torch.tensor(search.following(beam), device=row.device)
            best = row[following].topk(min(search.wanted, len(following)))
            yield list(zip(following[best.indices].tolist(), best.values.tolist(), strict=True))


def _log_probability(choice: RankedChoice) -> float:
    return choice.log_probability
