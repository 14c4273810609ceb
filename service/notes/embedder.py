"""`NoteEmbedder`: cuts notes into tokens and embeds them, through the prompt and the engine's queue."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from notellm.messages import NoteField
from notellm.note import NoteText
from notellm.prompt import NotePrompt, TokenizedNote
from service.errors import InvalidRequest
from service.index import Vector
from service.notes.fields import cut_fields, too_long
from service.notes.suggestions import Suggestions
from service.notes.vectors import finite
from service.observability import Metrics
from service.observability.tracing import part
from service.queueing import EngineQueues


@dataclass(frozen=True)
class EmbeddedText:
    """What reading a note gave.

    Attributes:
        vector: the embedding, (dimensions,).
        tokens: number of tokens in the embedded prompt, after cutting.
        truncated: the fields that were cut.
        suggestions: what was suggested for the note, if that was requested.
    """

    vector: Vector
    tokens: int
    truncated: tuple[NoteField, ...]
    suggestions: Suggestions | None = None


class NoteEmbedder:
    """Embeds notes with one checkpoint.

    Args:
        prompt: the checkpoint's prompt builder.
        queues: the queues in front of the engine.
        metrics: counts notes that are cut.
    """

    def __init__(self, prompt: NotePrompt, queues: EngineQueues, metrics: Metrics) -> None:
        self._prompt = prompt
        self._queues = queues
        self._metrics = metrics
        self.shortest = len(prompt.embedding(TokenizedNote((), (), (), full_lengths={})))

    @property
    def max_tokens(self) -> int:
        """Number of tokens in the longest embedding prompt."""
        return self._prompt.max_embedding_tokens

    async def tokenize(self, notes: Sequence[NoteText], *, field: str, strict: bool = False) -> list[TokenizedNote]:
        """Cuts notes into tokens. `field` names them in errors.

        Raises:
            InvalidRequest: a note is too long, with `strict`.
        """
        if not notes:
            return []
        with part("tokenize", notes=len(notes)):
            tokenized = await asyncio.to_thread(self._prompt.tokenize, notes)
        for note in tokenized:
            for name in note.truncated:
                self._metrics.truncations.labels(name).inc()
        if strict and (errors := too_long(tokenized, field)):
            raise InvalidRequest(
                f"strict was set, and these are too long: {', '.join(error.field for error in errors[:5])}", errors
            )
        return tokenized

    async def embed(self, notes: Sequence[TokenizedNote]) -> list[EmbeddedText]:
        """Embeds notes.

        Raises:
            QueueFull, ModelFailed, EngineUnavailable: see `Batcher.submit`.
        """
        if not notes:
            return []
        prompts = [self._prompt.embedding(note) for note in notes]
        vectors = await self._queues.embeddings.submit([(prompt, len(prompt)) for prompt in prompts])
        return self.with_vectors(notes, finite(vectors))

    async def vectors(self, notes: Sequence[NoteText]) -> list[Vector]:
        """The vectors of notes that were counted before, such as those of a migration."""
        return [text.vector for text in await self.embed(await asyncio.to_thread(self._prompt.tokenize, notes))]

    def with_vectors(
        self, notes: Sequence[TokenizedNote], vectors: Sequence[Vector], suggestions: Sequence[Suggestions | None] | None = None
    ) -> list[EmbeddedText]:
        """What reading the notes gave, if their vectors, and their suggestions if there are any, are known."""
        suggestions = suggestions if suggestions is not None else [None] * len(notes)
        return [
            EmbeddedText(vector, len(self._prompt.embedding(note)), cut_fields(note), suggested)
            for vector, note, suggested in zip(vectors, notes, suggestions, strict=True)
        ]
