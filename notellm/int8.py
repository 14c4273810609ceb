"""`Int8Layers`: the layers of a transformers model with linear weights rounded to 8 bits, for processors that multiply these faster.

Each row of a weight has its own scale, and so has each token's row of inputs (its largest value), so that a vector does not depend on
the other notes of its batch. Products are summed exactly, in 32-bit integers; everything else is float32. The method is the
vector-wise quantization of LLM.int8() (arXiv 2208.07339, section 2.1), without its treatment of outliers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from notellm.forward import TransformersLayers, rms_norm, rotate_
from notellm.model import NoteLLM

LARGEST = 127
# A row of zeros is divided by this scale instead of by zero.
SMALLEST_SCALE = 1e-12


@dataclass(frozen=True)
class Int8Rows:
    """Rows as integers from -127 to 127.

    Attributes:
        values: (rows, features), int8.
        scales: (rows, 1), float32; a row is its values times its scale.
    """

    values: Tensor
    scales: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "Int8Rows":
        """Rounds float32 rows, (rows, features)."""
        scales = rows.abs().amax(dim=-1, keepdim=True).div_(LARGEST).clamp_min_(SMALLEST_SCALE)
        return cls((rows / scales).round_().to(torch.int8), scales)


class Int8Linear:
    """A copy of a linear layer without bias, rounded to int8.

    Raises:
        TypeError: the layer has a bias, or it is not a plain `nn.Linear`.
    """

    def __init__(self, linear: nn.Module) -> None:
        if type(linear) is not nn.Linear or linear.bias is not None:
            raise TypeError(
                f"cannot round this {type(linear).__name__} layer to int8: only an nn.Linear without a bias can be rounded"
            )
        rows = Int8Rows.of(linear.weight.detach().float())
        self._weight: Tensor = rows.values.t()
        self._scales: Tensor = rows.scales.t()

    def __call__(self, inputs: Int8Rows) -> Tensor:
        """The layer's outputs, (tokens, features out), float32."""
        product: Tensor = torch._int_mm(inputs.values, self._weight)
        return torch.mul(product, inputs.scales).mul_(self._scales)


@dataclass(frozen=True)
class _Block:
    queries: Int8Linear
    keys: Int8Linear
    values: Int8Linear
    output: Int8Linear
    gate: Int8Linear
    up: Int8Linear
    down: Int8Linear


class Int8Layers(TransformersLayers):
    """`Layers` over rounded copies of the linear weights, which take a quarter of their memory in addition.

    Args:
        model: on a CPU, in float32; it is not changed.

    Raises:
        TypeError: see `Int8Linear`.
    """

    def __init__(self, model: NoteLLM) -> None:
        super().__init__(model.causal_lm.model)
        self._blocks = [
            _Block(
                *(Int8Linear(getattr(layer.self_attn, name)) for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
                *(Int8Linear(getattr(layer.mlp, name)) for name in ("gate_proj", "up_proj", "down_proj")),
            )
            for layer in self._layers
        ]

    def query_key_value(self, layer: int, states: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers.query_key_value`."""
        module, block = self._layers[layer], self._blocks[layer]
        normed = Int8Rows.of(rms_norm(module.input_layernorm, states))
        query, key, value = (
            linear(normed).view(len(states), -1, module.self_attn.head_dim)
            for linear in (block.queries, block.keys, block.values)
        )
        return rotate_(query, *rotation).transpose(0, 1), rotate_(key, *rotation).transpose(0, 1), value.transpose(0, 1)

    def finish(self, layer: int, states: Tensor, attended: Tensor) -> Tensor:
        """See `Layers.finish`."""
        module, block = self._layers[layer], self._blocks[layer]
        states = states.add_(block.output(Int8Rows.of(attended)))
        normed = Int8Rows.of(rms_norm(module.post_attention_layernorm, states))
        return states.add_(block.down(Int8Rows.of(module.mlp.act_fn(block.gate(normed)).mul_(block.up(normed)))))


class Int8NoteLLM:
    """A `NoteLLM` for `NoteEncoder` whose linear layers are rounded; its projection stays in float32."""

    def __init__(self, model: NoteLLM) -> None:
        self.layers = Int8Layers(model)
        self.dimensions = model.dimensions
        self.tokens = model.tokens
        self._model = model

    def project(self, hidden: Tensor, added: Tensor | None = None, *, normalize: bool = True) -> Tensor:
        """See `NoteLLM.project`."""
        return self._model.project(hidden, added, normalize=normalize)


def times_faster(run: Callable[[], object], than: Callable[[], object], rounds: int = 3) -> float:
    """How many times faster `run` is than `than` on this machine now.

    The two run alternately; a first round warms up, and the fastest of the other rounds counts.
    """
    best = [float("inf"), float("inf")]
    for number in range(rounds + 1):
        for place, call in enumerate((run, than)):
            start = time.perf_counter()
            call()
            if number:
                best[place] = min(best[place], time.perf_counter() - start)
    return best[1] / best[0]
