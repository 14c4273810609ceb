"""The two losses of arXiv 2403.01744, exact under data parallelism.

Each rank returns a loss whose *average over ranks* is the loss of the global batch. Data-parallel training averages gradients, so they
equal the gradients of one process that computes the whole batch.
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from training.batches import Contrast

MAX_LOG_SCALE = math.log(100.0)


class Temperature(nn.Module):
    """τ, the learnable logarithm of the factor of the cosines (paper: starts at 3).

    τ is float32 and has shape (1,), because FSDP2 does not shard scalars. e^τ is capped at 100, above which contrastive training diverges.
    """

    def __init__(self, start: float = 3.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([start], dtype=torch.float32))

    @torch.no_grad()
    def cap(self) -> None:
        """Lowers τ to its cap. Above the cap its gradient is zero, so it would never come back."""
        self.log_scale.clamp_(max=MAX_LOG_SCALE)

    def forward(self) -> Tensor:
        """τ, (1,). Only a call of the module gathers sharded parameters, so τ must be read through one."""
        return self.log_scale.float().clone()


@torch.no_grad()
def gather(embeddings: Tensor) -> Tensor:
    """The rows of all ranks in rank order, (world * rows, d), without gradient."""
    if world_size() == 1:
        return embeddings.detach()
    parts = [torch.empty_like(embeddings) for _ in range(world_size())]
    dist.all_gather(parts, embeddings.detach().contiguous())
    return torch.cat(parts)


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather_with_gradient(embeddings: Tensor) -> Tensor:
    """The rows of all ranks in rank order, (world * rows, d). Gradients flow back to the rank of each row."""
    if world_size() == 1:
        return embeddings
    from torch.distributed.nn.functional import all_gather  # noqa: PLC0415

    gathered: Tensor = torch.cat(all_gather(embeddings))
    return gathered


def contrastive_loss(embeddings: Tensor, contrast: Contrast, log_scale: Tensor, remembered: Tensor | None = None) -> Tensor:
    """Generative-contrastive loss (section 3.3.1): each note finds its targets among the notes of the global batch.

    Args:
        embeddings: (examples, d), unit vectors of this rank.
        contrast: what they have to find. A target with a single 1 is the paper's loss.
        log_scale: τ, (1,); cosines are multiplied by e^τ, in float32.
        remembered: (remembered notes, d), vectors of earlier batches as more columns, without gradient (arXiv 1912.06798).

    Returns:
        The sum of this rank's cross-entropies, divided by the global number of rows that count and multiplied by the number of ranks.
    """
    counted = contrast.targets.any(dim=1)
    targets = contrast.targets[counted]
    everything = gather_with_gradient(embeddings)
    if remembered is not None:
        everything = torch.cat([everything, remembered.to(everything)])
    with torch.autocast(embeddings.device.type, enabled=False):
        cosines = embeddings.float() @ everything.float().T
        logits = cosines * log_scale.clamp(max=MAX_LOG_SCALE).exp()
        log_shares = logits.masked_fill(contrast.left_out, -torch.inf)[counted].log_softmax(dim=1)
        # Columns that are left out have a share of 0; 0 * -inf would not be a number.
        total = -(targets * log_shares.masked_fill(targets == 0, 0)).sum()
    return total * world_size() / contrast.rows.clamp(min=1)


def generative_loss(logits: Tensor, output_ids: Tensor, output_tokens: Tensor) -> Tensor:
    """Collaborative supervised fine-tuning (section 3.3.2): mean cross-entropy over the output tokens of the *global* batch.

    Args:
        logits: (output tokens of this rank, vocabulary), each from the position before the token that it predicts.
        output_ids: (output tokens of this rank,).
        output_tokens: number of output tokens over all ranks, `global_count(len(output_ids))`.

    Returns:
        The sum over this rank's tokens, divided by the global number of tokens and multiplied by the number of ranks.
    """
    total = functional.cross_entropy(logits.float(), output_ids, reduction="sum") if len(output_ids) else logits.sum()
    return total * world_size() / output_tokens.clamp(min=1)


def global_count(count: int, device: torch.device) -> Tensor:
    """The sum of `count` over ranks."""
    counts = torch.tensor(float(count), device=device)
    if world_size() > 1:
        dist.all_reduce(counts)
    return counts


def total_loss(contrastive: Tensor, generative: Tensor, alpha: float) -> Tensor:
    """L = (L_cl + α L_gen) / (1 + α) (section 3.3.2)."""
    return (contrastive + alpha * generative) / (1 + alpha)
