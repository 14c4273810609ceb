"""`NoteService`: embeds, stores, finds and tags notes, through prompt, engine and index. Routes only translate to and from HTTP."""

import asyncio
import copy
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np

from notellm.checkpoint import Manifest
from notellm.note import Note, NoteText
from notellm.prompt import NotePrompt, TokenizedNote
from service.caller import caller, in_background
from service.errors import InvalidRequest, NoteNotFound, ServiceError
from service.index import Entry, IndexedNote, NoteFilter, NoteIndex, ScoredNote, Vector
from service.notes.diversity import Page, search_page
from service.notes.embedder import EmbeddedText, NoteEmbedder
from service.notes.storing import StoredResult, plan, refuse_repeated_ids, to_write
from service.notes.suggesting import suggest
from service.notes.suggestions import SuggestionOptions, SuggestionPrompts, Suggestions
from service.notes.voters import Voters
from service.observability import Metrics
from service.queueing import EngineQueues, SearchLimit

logger = logging.getLogger(__name__)
# Below this length, the direction of a mean of unit vectors is noise.
SHORTEST_MEAN = 1e-6
_WITHOUT_OTHER = "notes are stored without the other model's vector"


@dataclass(frozen=True)
class Neighbours:
    """The notes that were found, best first, and the ids of the request that are not stored and were skipped."""

    found: list[ScoredNote]
    missing: list[str]


class NoteService:
    """The service over one checkpoint, one engine behind its queues, and one index.

    Args:
        manifest: the manifest of the served checkpoint.
        prompt: the checkpoint's prompt builder.
        queues: the queues in front of the engine.
        suggestions: builds the requests for hashtags and categories.
        index: stores the notes.
        metrics: times the calls to the index and counts notes.
        searches: limits how many searches may run and wait.
    """

    def __init__(
        self,
        manifest: Manifest,
        prompt: NotePrompt,
        queues: EngineQueues,
        suggestions: SuggestionPrompts,
        index: NoteIndex,
        metrics: Metrics,
        searches: SearchLimit,
    ) -> None:
        self.manifest = manifest
        self._embedder = NoteEmbedder(prompt, queues, metrics)
        self._queues = queues
        self._index = index
        self._metrics = metrics
        self._searches = searches
        self._suggestions = suggestions
        self._voters = Voters(index, metrics, searches)
        self._other_model: NoteService | None = None

    def with_dual_writes(self, other_model: "NoteService") -> "NoteService":
        """Returns the same service for a migration: it stores notes with the other model's vectors as well."""
        service = copy.copy(self)
        service._other_model = other_model
        return service

    async def embed_texts(
        self, notes: Sequence[NoteText], *, field: str = "notes", strict: bool = False, suggest: SuggestionOptions | None = None
    ) -> list[EmbeddedText]:
        """Embeds notes without storing them, and suggests for them what `suggest` says. `field` names them in errors."""
        self._admit(len(notes), suggest)
        return await self._read(notes, await self._embedder.tokenize(notes, field=field, strict=strict), suggest)

    async def store(
        self, notes: Sequence[Note], *, strict: bool = False, suggest: SuggestionOptions | None = None
    ) -> list[StoredResult]:
        """Embeds and stores notes. Returns when all of them are on disk; unchanged ones are neither embedded nor written.

        With `suggest`, it suggests hashtags and a category for all of them, unchanged ones as well, before it stores any.

        Raises:
            InvalidRequest: an id occurs twice, or a note is too long with `strict`.
            QueueFull, ModelFailed, IndexUnavailable: some notes of the request may be stored, each of them completely.
        """
        refuse_repeated_ids(notes)
        bare = await asyncio.to_thread(lambda: [IndexedNote(note.payload(), None) for note in notes])
        with self._metrics.index_operation("get"):
            seen = await self._index.look([note.id for note in notes], with_vectors=True)
        planned = {note.id: plan(note, seen.get(note.id)) for note in bare}
        read, others = await self._read_planned(notes, planned, suggest, strict=strict)
        results = planned | read
        overtaken = await self._write(to_write(bare, results, others), seen)
        results |= {note_id: replace(results[note_id], status="stale", vector=None) for note_id in overtaken}
        for status, count in Counter(result.status for result in results.values()).items():
            self._metrics.notes.labels(status).inc(count)
        return list(results.values())

    async def _read_planned(
        self, notes: Sequence[Note], planned: Mapping[str, StoredResult], options: SuggestionOptions | None, *, strict: bool
    ) -> tuple[dict[str, StoredResult], dict[str, Mapping[str, Vector]]]:
        """Embeds the notes that lack a vector. With `strict`, it tokenises all notes in order to refuse those that are too long.

        Returns:
            The results for the notes that were read, all of them with `options`, and the vectors of the other model, both by note id.
        """
        wanted = notes if options is not None else [note for note in notes if planned[note.id].lacks_vector]
        self._admit(len(wanted), options)
        read = notes if strict else wanted
        tokenized = await self._embedder.tokenize(read, field="notes", strict=strict)
        by_id = {note.id: ids for note, ids in zip(read, tokenized, strict=True)}
        changed = [note for note in notes if planned[note.id].status == "stored"]
        embedding_others = asyncio.create_task(self._embed_for_other_model(changed))
        ids = [note.id for note in wanted]
        try:
            texts = await self._read(wanted, [by_id[note_id] for note_id in ids], options)
            others = await embedding_others
        finally:
            embedding_others.cancel()
            await asyncio.gather(embedding_others, return_exceptions=True)  # retrieve the exception, or asyncio logs it
        return {note_id: planned[note_id].with_text(text) for note_id, text in zip(ids, texts, strict=True)}, others

    def _admit(self, notes: int, options: SuggestionOptions | None) -> None:
        """Refuses notes that would not even fit if they were the shortest ones. Under overload, most requests end here, untokenised.

        Raises:
            QueueFull: too much work is waiting.
        """
        # Suggestions bring the vectors with them.
        queue = self._queues.embeddings if options is None else self._queues.rankings
        queue.admit([self._embedder.shortest] * notes)

    async def _read(
        self,
        notes: Sequence[NoteText],
        tokenized: Sequence[TokenizedNote],
        options: SuggestionOptions | None,
    ) -> list[EmbeddedText]:
        """Embeds notes and suggests for them what `options` say."""
        if options is None or not notes:
            return await self._embedder.embed(tokenized)
        asked = await asyncio.to_thread(self._suggestions.ask, notes, tokenized, options, embed=True)
        ids = [note.id for note in notes if isinstance(note, Note)]
        answer = await suggest(asked, self._queues, self._voters, ids)
        return self._embedder.with_vectors(tokenized, answer.vectors, answer.suggestions)

    async def vectors(self, notes: Sequence[NoteText]) -> list[Vector]:
        """Embeds notes for a migration, which stores the vectors itself."""
        return await self._embedder.vectors(notes)

    async def _embed_for_other_model(self, notes: Sequence[Note]) -> dict[str, Mapping[str, Vector]]:
        """Returns the vectors of a migration's other model, by note id. After a failure it returns none: the back-fill adds them."""
        if (other := self._other_model) is None or not notes:
            return {}
        caller.set(in_background(caller.get()))
        try:
            vectors = await other.vectors(notes)
        except ServiceError as error:
            logger.warning(_WITHOUT_OTHER, extra={"reason": error.detail})
            return {}
        except Exception:
            logger.exception(_WITHOUT_OTHER)
            return {}
        return {note.id: {other.vector_name: vector} for note, vector in zip(notes, vectors, strict=True)}

    async def _write(self, writes: Sequence[IndexedNote], seen: Mapping[str, Entry]) -> set[str]:
        """Stores notes. Returns the ids of those that were not stored because a newer write or a deletion came first."""
        if not writes:
            return set()
        with self._metrics.index_operation("upsert"):
            outcomes = await self._index.upsert(writes, seen=seen)
        return {note.id for note, outcome in zip(writes, outcomes, strict=True) if outcome != "stored"}

    async def get(self, note_id: str, *, with_vector: bool = False) -> IndexedNote:
        """Returns a stored note.

        Raises:
            NoteNotFound: no note is stored under the id.
        """
        return (await self._get_all([note_id], with_vectors=with_vector))[note_id]

    async def delete(self, note_id: str) -> None:
        """Deletes a note.

        Raises:
            NoteNotFound: no note is stored under the id.
        """
        with self._metrics.index_operation("delete"):
            outcomes = await self._index.delete([note_id])
        if outcomes == ["missing"]:
            raise NoteNotFound(f"not stored: {note_id}, so there is nothing to delete")

    async def similar_to_stored(
        self, ids: Sequence[str], where: NoteFilter, *, skip_missing: bool = False, **page: Unpack[Page]
    ) -> Neighbours:
        """Finds the other notes nearest to one or more stored notes. For several notes, the query is the mean of their vectors.

        Raises:
            NoteNotFound: a note is not stored; with `skip_missing`, none of the notes is stored.
            QueueFull: too many searches are waiting.
        """
        with self._searches.place():
            return await self._similar_to_stored(ids, where, skip_missing=skip_missing, **page)

    async def _similar_to_stored(
        self, ids: Sequence[str], where: NoteFilter, *, skip_missing: bool, **page: Unpack[Page]
    ) -> Neighbours:
        found = await self._get_all(ids, with_vectors=True, skip_missing=skip_missing)
        vectors = [found[note_id].vector for note_id in ids if note_id in found]
        if not (known := [vector for vector in vectors if vector is not None]):
            raise NoteNotFound("these notes have no vector of the served model yet: a migration is under way, try again")
        mean = np.mean(known, axis=0)
        length = float(np.linalg.norm(mean))
        if length < SHORTEST_MEAN:
            raise InvalidRequest.of("ids", "opposed", "the notes' vectors cancel out: ask for fewer of them")
        where = replace(where, exclude={*where.exclude, *ids})
        neighbours = await self._search((mean / length).astype(np.float32), where, **page)
        return Neighbours(neighbours, [note_id for note_id in dict.fromkeys(ids) if note_id not in found])

    async def similar_to_text(self, note: NoteText, where: NoteFilter, **page: Unpack[Page]) -> Neighbours:
        """Finds the neighbours of a note that need not be stored (cold start)."""
        embedded = (await self.embed_texts([note], field="note"))[0]
        with self._searches.place():
            return Neighbours(await self._search(embedded.vector, where, **page), [])

    async def suggest(self, notes: Sequence[NoteText], options: SuggestionOptions) -> list[Suggestions]:
        """Suggests for each note hashtags that it does not have yet, and a category from the checkpoint's list."""
        tokenized = await self._embedder.tokenize(notes, field="notes")
        asked = await asyncio.to_thread(self._suggestions.ask, notes, tokenized, options)
        return (await suggest(asked, self._queues, self._voters)).suggestions

    async def count(self) -> int:
        """Returns the number of stored notes."""
        with self._metrics.index_operation("count"):
            stored = await self._index.count()
        self._metrics.index_notes.set(stored)
        return stored

    @property
    def vector_name(self) -> str:
        """Name of the served model's vectors in the index."""
        return self._index.vector_name

    @property
    def max_tokens(self) -> int:
        """Number of tokens in the longest embedding prompt."""
        return self._embedder.max_tokens

    async def _get_all(self, ids: Sequence[str], *, with_vectors: bool, skip_missing: bool = False) -> dict[str, IndexedNote]:
        with self._metrics.index_operation("get"):
            found = await self._index.get(ids, with_vectors=with_vectors)
        missing = [note_id for note_id in ids if note_id not in found]
        if missing and not (skip_missing and found):
            raise NoteNotFound(f"not stored: {', '.join(missing[:10])}. Send it to POST /notes/embed first")
        return found

    async def _search(self, vector: Vector, where: NoteFilter, **page: Unpack[Page]) -> list[ScoredNote]:
        with self._metrics.index_operation("search"):
            return await search_page(self._index, vector, where=where, **page)
