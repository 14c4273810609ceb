"""What a LLaMA's layers do beside their matrix products, with fewer passes over memory than the modules themselves.

On a CPU the products run at the processor's peak, so that a third of a forward pass is such passes. All of it is for inference: where
a function's name ends in `_`, its first argument is overwritten.
"""

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm


def rotate_(states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotary position embedding (arXiv 2104.09864) of (tokens, heads, head size), the first half of a head against the second.

    Args:
        states: overwritten, and returned.
        cosines: (tokens, 1, head size / 2).
        sines: as `cosines`.
    """
    first, second = states.chunk(2, dim=-1)
    turned = first * sines
    first.mul_(cosines).addcmul_(second, sines, value=-1)
    second.mul_(cosines).add_(turned)
    return states


def rms_norm(norm: nn.Module, states: Tensor) -> Tensor:
    """What the module gives; in float32 with one pass less over the states for each of its steps.

    Args:
        norm: any module of states; `LlamaRMSNorm` is the one that is known.
        states: (tokens, hidden size).
    """
    if not isinstance(norm, LlamaRMSNorm) or states.dtype != torch.float32 or norm.weight.dtype != torch.float32:
        normed: Tensor = norm(states)
        return normed
    squares = torch.linalg.vector_norm(states, dim=-1, keepdim=True).square_()
    scale = squares.div_(states.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    return torch.mul(states, scale).mul_(norm.weight)


def add_linear_(states: Tensor, linear: nn.Module, inputs: Tensor) -> Tensor:
    """`states + linear(inputs)`: of a plain linear layer the product is added where it is made.

    Args:
        states: (tokens, features out), may be overwritten.
        linear: any module.
        inputs: (tokens, features in).
    """
    if type(linear) is not nn.Linear or states.dtype != linear.weight.dtype:
        added: Tensor = states.add_(linear(inputs))
        return added
    states.addmm_(inputs, linear.weight.t())
    return states if linear.bias is None else states.add_(linear.bias)
