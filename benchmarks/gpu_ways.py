"""Ways to embed the same prompts with the same weights on one device: ours, ours in CUDA graphs, and those of transformers."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.utils.import_utils import is_flash_attn_2_available

from benchmarks.gpu_subject import Subject
from notellm import NoteEncoder, NoteLLM
from notellm.forward import GraphedForward, Pack, PackedForward, read_prefix, token_batches
from notellm.forward.attention import attention_for
from notellm.forward.varlen import reference_kernel, varlen_attention

Prompts = Sequence[Sequence[int]]
Way = Callable[[Prompts], Tensor]
"""Returns unit float32 vectors in the order of the prompts, (prompts, dimensions), on the CPU; fetching them waits for the device."""

BATCH_SIZES = (16, 32, 64, 128, 256, 512)


def ours(subject: Subject, budget: int) -> Way:
    """The forward pass of the service."""
    encoder = NoteEncoder(subject.model, subject.prefix, max_batch_tokens=budget)
    if not encoder.packed:
        raise RuntimeError("the packed forward pass gives other vectors than the model's own, so there is nothing to measure")
    return lambda prompts: torch.from_numpy(encoder.encode(prompts))


class Graphed:
    """Our forward pass in CUDA graphs. On a CPU, packs are padded in the same way and run with the reference kernel."""

    def __init__(self, subject: Subject, budget: int) -> None:
        on_gpu = subject.device.type == "cuda"
        attention = attention_for(subject.device) if on_gpu else partial(varlen_attention, kernel=reference_kernel)
        layers = subject.model.layers
        self._subject = subject
        self._budget = budget
        self._states = GraphedForward(PackedForward(layers, read_prefix(layers, subject.prefix).prefix, attention))

    def __call__(self, prompts: Prompts) -> Tensor:
        """See `Way`."""
        prefix = len(self._subject.prefix)
        rests = [prompt[prefix:] for prompt in prompts]
        batches = list(token_batches([len(rest) for rest in rests], self._budget))
        packs = (Pack.of([rests[index] for index in batch], prefix, self._subject.device) for batch in batches)
        parts = [self._subject.model.project(self._states(pack)) for pack in packs]
        return _in_order(parts, batches)


def one_by_one(model: NoteLLM, prompts: Prompts) -> Tensor:
    """The plain forward pass for each prompt, as a reference."""
    return torch.stack([model(torch.tensor(prompt, device=model.device)) for prompt in prompts]).cpu()


def padded(subject: Subject, batch_size: int) -> Way:
    """As in most scripts: batches are sorted by length and padded on the right, and every prompt is computed completely."""
    model, device = subject.model, subject.device

    def embed(batch: Prompts) -> Tensor:
        width = max(map(len, batch))
        ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in batch], device=device)
        mask = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in batch], device=device)
        hidden = model.causal_lm.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return model.project(hidden[torch.arange(len(batch), device=device), mask.sum(1) - 1])

    def run(prompts: Prompts) -> Tensor:
        _attend_by(subject, "sdpa")
        batches = list(_by_count(prompts, batch_size))
        return _in_order([embed([prompts[index] for index in batch]) for batch in batches], batches)

    return run


def packed_by_transformers(subject: Subject, budget: int) -> Way | None:
    """Transformers' own packing with flash attention, with the prefix computed for each prompt; None if that is not installed.

    On a CPU, a mask over the whole row replaces flash attention.
    """
    if subject.device.type == "cuda" and not is_flash_attn_2_available():
        return None
    model, device = subject.model, subject.device

    def embed(batch: Prompts) -> Tensor:
        lengths = torch.tensor([0, *map(len, batch)])
        starts = lengths.cumsum(0).to(device, torch.int32)
        ids = torch.tensor([[token for prompt in batch for token in prompt]], device=device)
        positions = torch.cat([torch.arange(len(prompt)) for prompt in batch])[None].to(device)
        longest = int(lengths.max())
        hidden = model.causal_lm.model(
            input_ids=ids, position_ids=positions, use_cache=False, cu_seq_lens_q=starts, cu_seq_lens_k=starts,
            max_length_q=longest, max_length_k=longest,
        ).last_hidden_state  # fmt: skip
        return model.project(hidden[0, starts[1:] - 1])

    def run(prompts: Prompts) -> Tensor:
        _attend_by(subject, "flash_attention_2" if device.type == "cuda" else "sdpa")
        batches = list(token_batches([len(prompt) for prompt in prompts], budget))
        return _in_order([embed([prompts[index] for index in batch]) for batch in batches], batches)

    return run


def by_sentence_transformers(subject: Subject, batch_size: int) -> Way:
    """The library's `encode` on the prompts as texts. Its time includes tokenization, but ours does not."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 -- an option

    dtype = subject.model.causal_lm.dtype
    library: Any = SentenceTransformer(
        str(subject.path),
        device=str(subject.device),
        local_files_only=True,
        trust_remote_code=True,
        model_kwargs={"dtype": dtype},
    )
    library.tokenizer.chat_template = None  # it would be wrapped around every text

    def run(prompts: Prompts) -> Tensor:
        texts = [library.tokenizer.decode(ids) for ids in prompts]
        return torch.from_numpy(library.encode(texts, batch_size=batch_size)).float()

    return run


def _attend_by(subject: Subject, implementation: str) -> None:
    """Chooses transformers' attention; our forward pass uses its own."""
    causal_lm: Any = subject.model.causal_lm
    if causal_lm.config._attn_implementation != implementation:
        causal_lm.set_attn_implementation(implementation)


def _by_count(prompts: Prompts, size: int) -> Iterator[list[int]]:
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _in_order(parts: Sequence[Tensor], batches: Sequence[Sequence[int]]) -> Tensor:
    vectors = torch.cat(list(parts)).cpu()
    found = torch.empty_like(vectors)
    found[[index for batch in batches for index in batch]] = vectors
    return found
