"""The notes that benchmarks embed: real notes, not sorted by length."""

from collections.abc import Sequence
from typing import Any

from demo.sample import sample_notes
from notellm import NoteLLM, NotePrompt, NoteText


def workloads(captions: int, long_notes: int) -> dict[str, list[NoteText]]:
    """Captions (only titles), notes that fill the prompt, and a mix of both. Sites alternate, so lengths are in no order."""
    sample = sample_notes(-(-max(captions, long_notes) // 5))
    titles = [NoteText(title=note.plain_title) for note in sample[:captions]]
    whole = [
        NoteText(title=note.plain_title, content=note.plain_content * 3, hashtags=note.hashtags) for note in sample[:long_notes]
    ]
    return {"captions": titles, "120-token notes": whole, "mix": [*titles[: long_notes // 2 * 2 : 2], *whole[1::2]]}


def embedding_prompts(prompt: NotePrompt, notes: Sequence[NoteText]) -> list[list[int]]:
    """The token ids of the notes' embedding prompts."""
    return [prompt.embedding(note) for note in prompt.tokenize(notes)]


def needed_operations(model: NoteLLM, prompts: Sequence[Sequence[int]], prefix: int) -> float:
    """Floating-point operations of the matrix products that every forward pass needs: two per weight and token after the prefix.

    Attention and the projection do not count. In the last layer, only keys and values are needed at every token.
    """
    layers: Any = model.causal_lm.model.layers
    of_layer = [sum(weight.numel() for weight in layer.parameters() if weight.dim() > 1) for layer in layers]
    last = layers[-1].self_attn
    keys_values = last.k_proj.weight.numel() + last.v_proj.weight.numel()
    tokens = sum(len(prompt) - prefix for prompt in prompts)
    everywhere = sum(of_layer[:-1]) + keys_values
    return float(2 * (tokens * everywhere + len(prompts) * (of_layer[-1] - keys_values)))
