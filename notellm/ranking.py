"""`ChoiceRanker`: which of a fixed list of continuations (a vocabulary of hashtags) the model finds likeliest."""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from notellm.attention import RAGGED_ATTENTION, Prefix, with_attention
from notellm.model import NoteLLM
from notellm.packing import Pack
from notellm.trie import TokenTrie

BEAMS = 8


@dataclass(frozen=True)
class RankedChoice:
    """A continuation without its end of sequence, and the log-probability of it and its end after the prompt.

    Among all that the model could write, not among the choices alone: where none of them fits, all are unlikely.
    """

    ids: tuple[int, ...]
    log_probability: float


class ChoiceRanker:
    """Beam search through a trie, the prompt computed once and its keys and values shared by all beams.

    A choice whose every beginning stays among the `beams` likeliest beginnings of its length is found; with as many beams as
    choices the search is exact. Safe to use from several threads.

    Args:
        model: shared, not copied.
    """

    def __init__(self, model: NoteLLM) -> None:
        self._causal_lm = model.causal_lm
        self._backbone = with_attention(model.causal_lm.model, RAGGED_ATTENTION)

    @torch.inference_mode()
    def rank(self, prompt: Sequence[int], choices: TokenTrie, count: int, *, beams: int = BEAMS) -> list[RankedChoice]:
        """The likeliest choices after a prompt, best first; fewer than `count` where the search finds no more.

        Args:
            prompt: token ids.
            choices: what may follow.
            count: how many to return, at least 1.
            beams: beginnings that are followed at the same time; `count` if that is more.
        """
        prefix, state = Prefix.read(self._causal_lm.model, prompt)
        width = max(beams, count)
        live = [RankedChoice((), 0.0)]
        states = state[None]
        found: list[RankedChoice] = []
        while live:
            # One more a beam than are followed: each may also end.
            grown = heapq.nlargest(
                width + len(live), self._grow(live, states, choices, width + 1), key=lambda choice: choice.log_probability
            )
            found += (RankedChoice(choice.ids[:-1], choice.log_probability) for choice in grown if choices.ends(choice.ids))
            found = heapq.nlargest(count, found, key=lambda choice: choice.log_probability)
            # What is written can only get less likely: no beam below the last of enough finds can overtake it.
            least = found[-1].log_probability if len(found) == count else -math.inf
            live = [choice for choice in grown if not choices.ends(choice.ids) and choice.log_probability > least]
            live = live[:width]
            if live:
                states = self._read([choice.ids for choice in live], prefix)
        return found

    def _grow(self, live: Sequence[RankedChoice], states: Tensor, choices: TokenTrie, most: int) -> Iterator[RankedChoice]:
        """Every beam with each of the `most` likeliest tokens that may come next."""
        logs = self._causal_lm.lm_head(states).float().log_softmax(-1)
        for beam, row in zip(live, logs, strict=True):
            following = torch.tensor(choices.following(beam.ids), device=row.device)
            best = row[following].topk(min(most, len(following)))
            for token, log in zip(following[best.indices].tolist(), best.values.tolist(), strict=True):
                yield RankedChoice((*beam.ids, token), beam.log_probability + log)

    def _read(self, beams: Sequence[Sequence[int]], prefix: Prefix) -> Tensor:
        """Last-layer states of the last token of each beam, all of one length, behind the prompt: (beams, hidden size).

        Their few tokens are computed anew at each length: cheaper than to copy and reorder a cache a beam.
        """
        pack = Pack.of(beams, prefix.length, self._causal_lm.device)
        hidden: Tensor = self._backbone(
            input_ids=pack.input_ids, position_ids=pack.position_ids, use_cache=False, pack=pack, prefix=prefix
        ).last_hidden_state
        return hidden[0, pack.last]
