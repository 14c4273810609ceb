"""`Subject`: the model of a GPU run, and prompts of exact lengths for it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from demo.sample import sample_notes
from notellm import Checkpoint, NoteLLM, NoteText

SHAPES: dict[str, dict[str, int]] = {
    "llama2-7b": {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096,
    },
    "smollm2-135m": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
    },
    "tiny": {
        "vocab_size": 500, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 512,
    },
}  # fmt: skip
DIMENSIONS = 64
PREFIX_TOKENS = 40
# Mean lengths without the prefix; the length of each note differs from the mean by up to half of it.
LENGTHS: dict[str, tuple[int, ...]] = {"captions": (30,), "120-token notes": (120,), "mix": (30, 120)}


@dataclass(frozen=True)
class Subject:
    """A model and the ids for its prompts.

    Attributes:
        name: name of the checkpoint or the shape.
        model: the model in the run's precision, on the run's device.
        prefix: the ids that every prompt begins with.
        text: the ids from which prompts are cut.
        path: path of the checkpoint; None for random weights.
    """

    name: str
    model: NoteLLM
    prefix: list[int]
    text: list[int]
    path: Path | None = None

    @classmethod
    def of_checkpoint(cls, path: Path, device: torch.device, dtype: torch.dtype) -> "Subject":
        """A checkpoint, and the demo's notes in the ids of its tokenizer."""
        checkpoint = Checkpoint.open(path, verify="size")
        prompt = checkpoint.prompt()
        notes = [NoteText(title=note.plain_title, content=note.plain_content) for note in sample_notes(40)]
        prefix = list(prompt.embedding_prefix)
        text = list(chain.from_iterable(prompt.embedding(note)[len(prefix) :] for note in prompt.tokenize(notes)))
        return cls(path.name, checkpoint.load_model(dtype, str(device)), prefix, text, path)

    @classmethod
    def of_shape(cls, shape: str, device: torch.device, dtype: torch.dtype) -> "Subject":
        """A model with random weights that are made on the device."""
        config = LlamaConfig(**SHAPES[shape])  # type: ignore[arg-type]
        torch.manual_seed(0)
        with device:
            causal_lm: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
            projection = nn.Linear(config.hidden_size, DIMENSIONS, bias=False)
        model = NoteLLM(causal_lm, projection).eval().requires_grad_(requires_grad=False)
        chance = random.Random(0)  # noqa: S311 -- no secret
        text = [chance.randrange(3, config.vocab_size) for _ in range(20_000)]
        return cls(f"{shape} (random weights)", model, text[:PREFIX_TOKENS], text[PREFIX_TOKENS:])

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return self.model.device

    def prompts(self, workload: str, tokens: int) -> list[list[int]]:
        """Prompts of a workload that together have this many tokens, without the prefix."""
        chance = random.Random(1)  # noqa: S311 -- no secret
        means = LENGTHS[workload]
        found: list[list[int]] = []
        while tokens > 0:
            mean = means[len(found) % len(means)]
            length = chance.randint(mean // 2, mean + mean // 2)
            start = chance.randrange(len(self.text) - length)
            found.append(self.prefix + self.text[start : start + length])
            tokens -= length
        return found

    def own_tokens(self, prompts: Sequence[Sequence[int]]) -> int:
        """Number of tokens without the prefix."""
        return sum(map(len, prompts)) - len(prompts) * len(self.prefix)

    def needed_operations(self, prompts: Sequence[Sequence[int]]) -> float:
        """Floating-point operations of the matrix products that every forward pass needs: two per weight and token after the prefix.

        Attention and the projection do not count. In the last layer, only keys and values are needed at every token.
        """
        layers: Any = self.model.causal_lm.model.layers
        of_layer = [sum(weight.numel() for weight in layer.parameters() if weight.dim() > 1) for layer in layers]
        keys_values = layers[-1].self_attn.k_proj.weight.numel() + layers[-1].self_attn.v_proj.weight.numel()
        everywhere = sum(of_layer[:-1]) + keys_values
        return float(2 * (self.own_tokens(prompts) * everywhere + len(prompts) * (of_layer[-1] - keys_values)))
