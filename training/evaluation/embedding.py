"""Methods that turn a note into a vector."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch.nn import functional

from notellm import Checkpoint, Note, NoteEncoder, NotePrompt
from notellm.model import NoteLLM
from training.evaluation.machine import machine_note
from training.ranking import Scores

logger = logging.getLogger(__name__)
_WARM_UP = 8
STATE_ONLY, TOKENS_ONLY = "-state-only", "-tokens-only"


class Embedder(Protocol):
    """Turns notes into unit vectors.

    Attributes:
        name: name of the method.
    """

    name: str

    @property
    def machine(self) -> str:
        """The machine that it runs on, in words."""
        ...

    def embed(self, notes: Sequence[Note]) -> Scores:
        """Unit float32 vectors in the order of the notes, (notes, dimensions)."""
        ...


class LoadedCheckpoint:
    """A NoteLLM checkpoint whose weights are loaded on first use, in float32 on a CPU and in bfloat16 on a GPU.

    Args:
        name: name of the method.
        checkpoint: the opened checkpoint.
    """

    def __init__(self, name: str, checkpoint: Checkpoint) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = torch.bfloat16 if self._device == "cuda" else torch.float32

    @property
    def machine(self) -> str:
        """Processor and dtype."""
        return machine_note(self._device, str(self._dtype).removeprefix("torch."))

    @cached_property
    def model(self) -> NoteLLM:
        """The weights."""
        logger.info("%s: loading %s as %s on %s", self.name, self.checkpoint.path, self._dtype, self._device)
        return self.checkpoint.load_model(self._dtype, self._device)

    @cached_property
    def prompt(self) -> NotePrompt:
        """The prompt that the model was trained with."""
        return self.checkpoint.prompt()

    @cached_property
    def _encoder(self) -> NoteEncoder:
        return NoteEncoder(self.model, self.prompt.embedding_prefix)

    def embed(self, notes: Sequence[Note]) -> Scores:
        """Embeds each note's embedding prompt with the custom forward pass."""
        return self._encoder.encode(self.prompts(notes))

    def prompts(self, notes: Sequence[Note]) -> list[list[int]]:
        """The notes' embedding prompts."""
        return [self.prompt.embedding(note) for note in self.prompt.tokenize(notes)]


class StateOnly:
    """The part of a checkpoint's vectors that comes from the hidden state: what the language model knows without the token vectors.

    Args:
        loaded: a checkpoint with token vectors.
    """

    about = "the same vectors without what the token vectors add"

    def __init__(self, loaded: LoadedCheckpoint) -> None:
        self.name = f"{loaded.name}{STATE_ONLY}"
        self.machine = loaded.machine
        self._loaded = loaded

    def embed(self, notes: Sequence[Note]) -> Scores:
        """See `Embedder`."""
        return self._encoder.encode(self._loaded.prompts(notes))

    @cached_property
    def _encoder(self) -> NoteEncoder:
        model = self._loaded.model
        return NoteEncoder(NoteLLM(model.causal_lm, model.projection), self._loaded.prompt.embedding_prefix)


class TokensOnly:
    """The part of a checkpoint's vectors that comes from the note's tokens: what words say without the language model.

    Args:
        loaded: a checkpoint with token vectors.
    """

    about = "the same vectors without the language model: only what the token vectors add"

    def __init__(self, loaded: LoadedCheckpoint) -> None:
        self.name = f"{loaded.name}{TOKENS_ONLY}"
        self.machine = loaded.machine
        self._loaded = loaded
        self._tokens = loaded.checkpoint.load_token_vectors()

    @torch.inference_mode()
    def embed(self, notes: Sequence[Note]) -> Scores:
        """See `Embedder`. A note without known tokens has a vector of zeros."""
        if self._tokens is None:
            raise ValueError(f"{self.name}: the checkpoint has no token vectors")
        opening = len(self._loaded.prompt.embedding_prefix)
        rests = [ids[opening:] for ids in self._loaded.prompts(notes)]
        vectors: Scores = functional.normalize(self._tokens.of_prompts(rests), dim=-1).numpy()
        return vectors


@dataclass(frozen=True)
class EmbeddedNotes:
    """Vectors, and how long it took to compute them.

    Attributes:
        vectors: (notes, dimensions), unit length.
        seconds: time to embed the notes with a loaded and warm model.
        machine: the machine that it ran on.
    """

    vectors: Scores
    seconds: float
    machine: str

    @property
    def notes_per_second(self) -> float:
        """The throughput."""
        return len(self.vectors) / self.seconds


def embed(embedder: Embedder, notes: Sequence[Note]) -> EmbeddedNotes:
    """Embeds at least one note and measures the time."""
    embedder.embed(notes[:_WARM_UP])
    start = time.perf_counter()
    vectors = embedder.embed(notes)
    embedded = EmbeddedNotes(vectors, time.perf_counter() - start, embedder.machine)
    logger.info("%s: %.1f notes per second on %s", embedder.name, embedded.notes_per_second, embedded.machine)
    return embedded
