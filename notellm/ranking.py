"""`ChoiceSearch` and `ChoiceRanker` find the likeliest continuations in a fixed list, such as a vocabulary of hashtags."""

import heapq
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from notellm.forward import Layers, Prefix, read_prefixes, tree_states
from notellm.forward.trees import Ids
from notellm.trie import TokenTrie

BEAMS = 8
# Bounds the cost of a note that has many hashtags of its own.
MOST_BEAMS = 4 * BEAMS

# A pass over few tokens takes hardly longer than one over half as many: reading the weights takes most of the time.
LOOK_AHEAD = 8
# Bounds memory: scores of the whole vocabulary for this many tokens at once.
ROWS = 128

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

    def following(self, ids: Ids) -> list[int]:
        """The tokens that may come after the beginning of a choice."""
        return self._choices.following(ids)

    def paths(self, beam: RankedChoice) -> list[Ids]:
        """The choices that a beam can become if they are few; else only the beam; see `TokenTrie.paths`."""
        return self._choices.paths(beam.ids, LOOK_AHEAD)

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


@dataclass
class AlsoRead:
    """Prompts that are computed together with those of searches. What they share with these is computed once.

    Attributes:
        prompts: token ids.
        states: the state of the last token of each prompt after the final norm, (E,); filled in by the first step.
    """

    prompts: Sequence[Sequence[int]]
    states: list[Tensor] = field(default_factory=list)


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
        self.run([prompt], [search])
        return search.found

    def run(self, prompts: Sequence[Sequence[int]], searches: Sequence[ChoiceSearch], also: AlsoRead | None = None) -> None:
        """Runs one search per prompt to its end, all of them together; see `steps`.

        Raises:
            FloatingPointError: see `rank`.
        """
        for _ in self.steps(prompts, searches, also):
            pass

    @torch.inference_mode()
    def steps(
        self, prompts: Sequence[Sequence[int]], searches: Sequence[ChoiceSearch], also: AlsoRead | None = None
    ) -> Iterator[None]:
        """Runs several searches to their ends, together: one forward pass per step has all beams of all searches.

        The first step computes the prompts; what they all begin with is computed once. The other searches change a log-probability only
        by rounding.

        Args:
            prompts: token ids.
            searches: one for each prompt.
            also: more prompts to compute with them.

        Raises:
            FloatingPointError: see `rank`.
        """
        if not prompts:
            return
        read = read_prefixes(self._layers, [*prompts, *(also.prompts if also else ())])
        if also:
            also.states = [one.state for one in read[len(prompts) :]]
        walks = [_Walk(one.prefix, search) for one, search in zip(read, searches, strict=False)]
        states = [one.state[None] for one in read[: len(prompts)]]
        trees: list[list[Ids]] = [[()] for _ in prompts]
        del read  # the keys and values of searches that end are freed
        while True:
            self._learn(walks, trees, states)
            for walk in walks:
                walk.advance()
            yield
            if not (walks := [walk for walk in walks if walk.search.live]):
                return
            # Computing the few tokens of a tree again is cheaper than copying the keys and values of the prompt to add them to it.
            trees = [walk.tree() for walk in walks]
            states = tree_states(self._layers, [walk.prefix for walk in walks], trees)

    def _learn(self, walks: Sequence["_Walk"], trees: Sequence[Sequence[Ids]], states: Sequence[Tensor]) -> None:
        """Tells searches what may come after beginnings of choices; `states` are those of each search's tree, (beginnings, E)."""
        new = [
            [place for place, ids in enumerate(tree) if ids not in walk.known] for walk, tree in zip(walks, trees, strict=True)
        ]
        rows = torch.cat([own[places] for own, places in zip(states, new, strict=True)])
        learning = [(walk, tree[place]) for walk, tree, places in zip(walks, trees, new, strict=True) for place in places]
        for start in range(0, len(rows), ROWS):
            log_probabilities = self._layers.logits(rows[start : start + ROWS]).float().log_softmax(-1)
            if not log_probabilities.isfinite().all():
                raise FloatingPointError("the model computes probabilities that are not finite")
            for (walk, ids), row in zip(learning[start : start + ROWS], log_probabilities, strict=True):
                walk.known[ids] = _likeliest(walk.search, ids, row)


@dataclass
class _Walk:
    """A search after a computed prompt.

    Attributes:
        prefix: keys and values of the prompt.
        search: the search.
        known: the likeliest tokens after beginnings of choices, also of some that no beam has reached yet.
    """

    prefix: Prefix
    search: ChoiceSearch
    known: dict[Ids, Likeliest] = field(default_factory=dict)

    def advance(self) -> None:
        """Goes as far as what is known allows."""
        while self.search.live and all(beam.ids in self.known for beam in self.search.live):
            self.search.advance([self.known[beam.ids] for beam in self.search.live])

    def tree(self) -> list[Ids]:
        """The beginnings to compute next, each after its own: those of beams, and all ways on of beams that have few of them.

        With these, fewer passes are needed.
        """
        paths = (path for beam in self.search.live if beam.ids not in self.known for path in self.search.paths(beam))
        return list(dict.fromkeys(path[:end] for path in paths for end in range(1, len(path) + 1)))


def _likeliest(search: ChoiceSearch, ids: Ids, log_probabilities: Tensor) -> Likeliest:
    following = torch.tensor(search.following(ids), device=log_probabilities.device)
    best = log_probabilities[following].topk(min(search.wanted, len(following)))
    return list(zip(following[best.indices].tolist(), best.values.tolist(), strict=True))


def _log_probability(choice: RankedChoice) -> float:
    return choice.log_probability
