"""`ChoiceRanker`: which of a fixed list of continuations (a vocabulary of hashtags) the model finds likeliest."""

import heapq
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from notellm.attention import RAGGED_ATTENTION, Prefix, with_attention
from notellm.model import NoteLLM
from notellm.packing import Pack
from notellm.trie import TokenTrie

BEAMS = 8
# A note with many hashtags of its own must not cost more than this many notes without.
MOST_BEAMS = 4 * BEAMS


@dataclass(frozen=True)
class RankedChoice:
    """A continuation without its end of sequence, and the log-probability of it and its end after the prompt.

    Among all that the model could write, not among the choices alone: where none of them fits, all are unlikely.
    """

    ids: tuple[int, ...]
    log_probability: float


class ChoiceRanker:
    """Beam search through a trie, the prompt computed once and its keys and values shared by all beams.

    A choice whose every beginning stays among the likeliest beginnings of its length is found; with as many beams as choices the
    search is exact. Safe to use from several threads.

    Args:
        model: shared, not copied.
    """

    def __init__(self, model: NoteLLM) -> None:
        self._causal_lm = model.causal_lm
        self._backbone = with_attention(model.causal_lm.model, RAGGED_ATTENTION)

    @torch.inference_mode()
    def rank(
        self, prompt: Sequence[int], choices: TokenTrie, count: int, *,
        exclude: Collection[tuple[int, ...]] = (), beams: int | None = None,
    ) -> list[RankedChoice]:  # fmt: skip
        """The likeliest choices after a prompt, best first; fewer than `count` where the search finds no more.

        Args:
            prompt: token ids.
            choices: what may follow.
            count: how many to return, at least 1.
            exclude: choices that are not returned.
            beams: beginnings that are followed at the same time; 8, or more where `count` and `exclude` ask for more.

        Raises:
            FloatingPointError: the model gives numbers that are not finite.
        """
        width = beams or max(BEAMS, count, min(count + len(exclude), MOST_BEAMS))
        prefix, state = Prefix.read(self._causal_lm.model, prompt)
        states = state[None]
        live = [RankedChoice((), 0.0)]
        found: list[RankedChoice] = []
        while live:
            # One more a beam than are followed: each may also end.
            grown = heapq.nlargest(
                width + len(live), self._grow(live, states, choices, width + 1), key=lambda choice: choice.log_probability
            )
            ended = (RankedChoice(choice.ids[:-1], choice.log_probability) for choice in grown if choices.ends(choice.ids))
            found += (choice for choice in ended if choice.ids not in exclude)
            found = heapq.nlargest(count, found, key=lambda choice: choice.log_probability)
            # What is written can only get less likely: no beam below the last of enough finds can overtake it.
            least = found[-1].log_probability if len(found) == count else -math.inf
            live = [choice for choice in grown if not choices.ends(choice.ids) and choice.log_probability > least][:width]
            if live:
                states = self._read([choice.ids for choice in live], prefix)
        return found

    def _grow(self, live: Sequence[RankedChoice], states: Tensor, choices: TokenTrie, tokens: int) -> Iterator[RankedChoice]:
        """Every beam with each of the `tokens` likeliest tokens that may come next."""
        log_probabilities = self._causal_lm.lm_head(states).float().log_softmax(-1)
        if not log_probabilities.isfinite().all():
            raise FloatingPointError("the model gives probabilities that are not finite")
        for beam, row in zip(live, log_probabilities, strict=True):
            following = torch.tensor(choices.following(beam.ids), device=row.device)
            best = row[following].topk(min(tokens, len(following)))
            for token, added in zip(following[best.indices].tolist(), best.values.tolist(), strict=True):
                yield RankedChoice((*beam.ids, token), beam.log_probability + added)

    def _read(self, beams: Sequence[Sequence[int]], prefix: Prefix) -> Tensor:
        """Last-layer states of the last token of each beam, all of one length, behind the prompt: (beams, hidden size).

        Their few tokens are computed anew at each length: cheaper than to copy and reorder a cache a beam.
        """
        pack = Pack.of(beams, prefix.length, self._causal_lm.device)
        hidden: Tensor = self._backbone(
            input_ids=pack.input_ids, position_ids=pack.position_ids, use_cache=False, pack=pack, prefix=prefix
        ).last_hidden_state
        return hidden[0, pack.last]
