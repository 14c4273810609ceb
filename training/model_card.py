"""The README.md of a checkpoint: what it is, what it was trained on and how to use it."""

from typing import Any

from notellm.saving import CheckpointFacts

_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
base_model: {base_model}
tags: [notellm, note-recommendation, hashtag-generation]
---

# {name}

A NoteLLM checkpoint (arXiv 2403.01744): one LLaMA-family model that turns a note into a unit vector for item-to-item
recommendation, and writes hashtags and a category for it.

| | |
|---|---|
| base model | {base_model} |
| prompt | {prompt}, title {title_tokens}, hashtags {topic_tokens}, content {content_tokens} tokens |
| categories | {categories} |
| data fingerprint | {data_fingerprint} |
| code revision | {revision} |
{metrics}

## Use

Serve it with `NOTELLM_CHECKPOINT=<this directory> notellm-serve`. The prompt is part of the model: vectors from different prompts
cannot be compared. {others}

## Limits

Vectors and hashtags reflect the behaviour log that the model was trained on, and its biases. The settings of the training run are
in `training.json`.
"""


_PLAIN = """sentence-transformers and vLLM's pooling runner load the directory too; give them token ids from
`notellm.NotePrompt`, not text."""
_WITH_TOKENS = """The vectors are the sum of a projected hidden state and of vectors of the note's own tokens. sentence-transformers
computes them with `trust_remote_code=True` if the package `notellm` is installed; give it token ids from `notellm.NotePrompt`, not text.
The pooling of vLLM and of text-embeddings-inference cannot add token vectors: do not use it with this checkpoint."""


def model_card(facts: CheckpointFacts, record: dict[str, Any], *, with_tokens: bool = False) -> str:
    """The model card in markdown; `with_tokens` says whether the checkpoint has token vectors."""
    return _CARD.format(
        **facts.model_dump(exclude={"prompt", "categories", "metrics", "data_fingerprint"}),
        others=_WITH_TOKENS if with_tokens else _PLAIN,
        prompt=facts.prompt.version,
        title_tokens=facts.prompt.title_tokens,
        topic_tokens=facts.prompt.topic_tokens,
        content_tokens=facts.prompt.content_tokens,
        categories=len(facts.categories),
        data_fingerprint=facts.data_fingerprint or "none",
        revision=record.get("code_revision") or "unknown",
        metrics="".join(f"| {name} | {value:.4f} |\n" for name, value in facts.metrics.items()),
    )
