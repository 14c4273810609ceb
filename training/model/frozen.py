"""`FrozenLayers`: the lowest layers are not trained, so their output is computed once per example and kept."""

import copy

import torch
from torch import Tensor, nn
from transformers import LlamaModel

from notellm.forward import Run
from training.batches import TokenRows

Key = tuple[tuple[int, ...], tuple[int, ...]]


class FrozenLayers:
    """Runs a backbone over packed rows in two parts: first the frozen layers, without gradient, then the others.

    The frozen layers' output of each example, (tokens, hidden size), is kept in float16. Openings are computed in every step in the
    backbone's own precision, because their first token has extreme values.

    Args:
        backbone: its layers are shared, not copied.
        count: number of lowest layers that are frozen.
    """

    def __init__(self, backbone: LlamaModel, count: int) -> None:
        self._lower = _part(backbone, slice(0, count), last=False)
        self._upper = _part(backbone, slice(count, None), last=True)
        self._kept: dict[Key, Tensor] = {}
        self.hits = self.misses = 0

    def hidden_states(self, rows: TokenRows) -> Tensor:
        """Last-layer states of a packed row, (1, tokens, hidden size)."""
        if rows.runs is None:
            raise ValueError("frozen layers need packed rows")
        states = self._lower_states(rows.input_ids, rows.position_ids, rows.runs)
        hidden: Tensor = self._upper(
            inputs_embeds=states, position_ids=rows.position_ids, use_cache=False, runs=rows.runs
        ).last_hidden_state
        return hidden

    @torch.no_grad()
    def _lower_states(self, input_ids: Tensor, position_ids: Tensor, runs: tuple[Run, ...]) -> Tensor:
        ids = input_ids[0].tolist()
        computed, fresh = self._compute_missing(input_ids, position_ids, runs, ids)
        parts = []
        for run in runs:
            for start in range(run.start, run.end, run.length):
                key = _key(ids, run, start)
                if start in fresh:
                    states = computed[fresh[start] : fresh[start] + run.length]
                    if run.prefix_length:
                        self._kept[key] = states.half()
                else:
                    states = self._kept[key].to(computed.dtype)
                parts.append(states)
        return torch.cat(parts)[None]

    def _compute_missing(
        self, input_ids: Tensor, position_ids: Tensor, runs: tuple[Run, ...], ids: list[int]
    ) -> tuple[Tensor, dict[int, int]]:
        """States of the openings and of sequences that are not kept yet, and where in them each sequence lies, by its start."""
        fresh: dict[int, int] = {}
        packed: list[Run] = []
        tokens: list[int] = []
        for run in runs:
            missing = [
                start
                for start in range(run.start, run.end, run.length)
                if not run.prefix_length or _key(ids, run, start) not in self._kept
            ]
            if run.prefix_length:
                self.misses += len(missing)
                self.hits += run.count - len(missing)
            if missing:
                prefix_start = fresh.get(run.prefix_start, 0)
                packed.append(Run(len(tokens), len(missing), run.length, prefix_start, run.prefix_length))
            for start in missing:
                fresh[start] = len(tokens)
                tokens += range(start, start + run.length)
        picked = torch.tensor(tokens, device=input_ids.device)
        states = self._lower(
            input_ids=input_ids[:, picked], position_ids=position_ids[:, picked], use_cache=False, runs=tuple(packed)
        ).last_hidden_state
        return states[0], fresh


def _key(ids: list[int], run: Run, start: int) -> Key:
    prefix = ids[run.prefix_start : run.prefix_start + run.prefix_length]
    return tuple(prefix), tuple(ids[start : start + run.length])


def _part(backbone: LlamaModel, layers: slice, *, last: bool) -> LlamaModel:
    """A backbone of only these layers that shares their weights. Only the last part has the final norm."""
    part = copy.copy(backbone)
    part._modules = dict(backbone._modules)
    part._modules["layers"] = nn.ModuleList(list(backbone.layers)[layers])
    if not last:
        part._modules["norm"] = nn.Identity()
    return part
