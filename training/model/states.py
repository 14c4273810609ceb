"""Hidden states of notes, for projections that are solved instead of trained."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from transformers import LlamaForCausalLM

from notellm.encoder import NoteEncoder
from notellm.model import NoteLLM
from notellm.note import Note
from notellm.prompt import NotePrompt
from training.model.initialize import linear
from training.precision import Precision
from training.projection import Features

logger = logging.getLogger(__name__)
Encode = Callable[[Sequence[Note]], Features]
# Notes between two lines of the log.
_PART = 2048


def state_encoder(causal_lm: LlamaForCausalLM, prompt: NotePrompt, precision: Precision) -> Encode:
    """A function that gives the hidden states that embeddings are projected from, (notes, hidden size).

    Args:
        causal_lm: the model. It is computed on a GPU if there is one, and stays where it is.
        prompt: the prompt of the model.
        precision: bfloat16 computes with a rounded copy.
    """
    hidden = int(causal_lm.config.hidden_size)

    def encode(notes: Sequence[Note]) -> Features:
        model = for_inference(causal_lm, precision)
        identity = linear(torch.eye(hidden)).to(model.device)
        encoder = NoteEncoder(NoteLLM(model, identity), prompt.embedding_prefix)
        states = np.empty((len(notes), hidden), np.float32)
        start = time.monotonic()
        for first in range(0, len(notes), _PART):
            part = notes[first : first + _PART]
            prompts = [prompt.embedding(note) for note in prompt.tokenize(part)]
            states[first : first + _PART] = encoder.encode(prompts, normalize=False)
            done = first + len(part)
            logger.info("hidden states of %d of %d notes, %.1f a second", done, len(notes), done / (time.monotonic() - start))
        return states

    return encode


def shared_over_processes(encode: Encode) -> Encode:
    """The same function, of which each process of a distributed run computes a share. All must call it with the same notes."""

    def encode_share(notes: Sequence[Note]) -> Features:
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return encode(notes)
        rank, ranks = dist.get_rank(), dist.get_world_size()
        shares: list[Any] = [None] * ranks
        dist.all_gather_object(shares, encode(notes[rank::ranks]))
        states = np.empty((len(notes), shares[0].shape[1]), np.float32)
        for place, share in enumerate(shares):
            states[place::ranks] = share
        return states

    return encode_share


def for_inference(causal_lm: LlamaForCausalLM, precision: Precision) -> LlamaForCausalLM:
    """The model on a GPU if there is one, rounded if `precision` says so: a copy, or the model itself if it is so already."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if precision == "bfloat16" else causal_lm.dtype
    if dtype == causal_lm.dtype and causal_lm.device.type == device:
        return causal_lm
    # Not `deepcopy`: it cannot copy the hooks that gradient checkpointing leaves on a model with adapters.
    library: Any = LlamaForCausalLM  # its types do not know that `from_pretrained` works without a path
    copied = library.from_pretrained(None, config=causal_lm.config, state_dict=causal_lm.state_dict(), dtype=dtype)
    moved: LlamaForCausalLM = copied.to(device).eval()
    return moved
