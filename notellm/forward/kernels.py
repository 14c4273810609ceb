"""The steps of a LLaMA's layers between the matrix products, with fewer passes over memory than the model's own modules.

On a CPU the products run at the processor's peak speed, so the steps between them take a third of a forward pass. These functions
are for inference only. If a function's name ends in `_`, it overwrites its first argument.
"""

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm


def rotate_(states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotary position embedding (arXiv 2104.09864). Each value of a head's first half is rotated together with one of its second half.

    Args:
        states: (T, H or K, D), overwritten and returned.
        cosines: (T, 1, D / 2).
        sines: (T, 1, D / 2).
    """
    first, second = states.chunk(2, dim=-1)
    turned = first * sines
    first.mul_(cosines).addcmul_(second, sines, value=-1)
    second.mul_(cosines).add_(turned)
    return states


def rms_norm(norm: nn.Module, states: Tensor) -> Tensor:
    """`norm(states)`. A `LlamaRMSNorm` in float32 is computed with fewer passes over the states than the module makes.

    Args:
        norm: any normalization module.
        states: (T, E).
    """
    if not isinstance(norm, LlamaRMSNorm) or states.dtype != torch.float32 or norm.weight.dtype != torch.float32:
        normed: Tensor = norm(states)
        return normed
    squares = torch.linalg.vector_norm(states, dim=-1, keepdim=True).square_()
    scale = squares.div_(states.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    return torch.mul(states, scale).mul_(norm.weight)


def add_linear_(states: Tensor, linear: nn.Module, inputs: Tensor) -> Tensor:
    """`states + linear(inputs)`. For a plain linear layer, the product is added directly to the states.

    Args:
        states: (T, features out), may be overwritten.
        linear: any module.
        inputs: (T, features in).
    """
    if type(linear) is not nn.Linear or states.dtype != linear.weight.dtype:
        added: Tensor = states.add_(linear(inputs))
        return added
    states.addmm_(inputs, linear.weight.t())
    return states if linear.bias is None else states.add_(linear.bias)
