"""`AsyncNoteClient`: `NoteClient` for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import httpx
from tenacity import AsyncRetrying

from notellm.client import calls
from notellm.client.asking import (
    IN_FLIGHT,
    SECONDS,
    Manner,
    Wanted,
    as_array,
    checked_url,
    collected,
    listed,
    neighbours_of,
    progress_bar,
)
from notellm.client.calls import Call, Json, NoteLike
from notellm.client.parts import MOST_NOTES, MOST_SUGGESTED, Part, rounds
from notellm.client.problems import NoteNotFound, ServiceProblem
from notellm.client.retries import Trying
from notellm.messages import EmbeddedNote, HashtaggedNote, ModelInfo, SimilarResponse, StoredNoteWithVector, SuggestRequest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AnswerT = TypeVar("AnswerT")
Numbered = list[tuple[int, AnswerT]]


class AsyncNoteClient:
    """A client of one service for asyncio; otherwise as `NoteClient`. If a part of a list is refused, the others are given up at once.

    Close it with `aclose`, or use it in an `async with` block.

    Args:
        url: see `NoteClient`.
        api_key: see `NoteClient`.
        timeout: see `NoteClient`.
        in_flight: see `NoteClient`.
        bulk: see `NoteClient`.
        patience: see `NoteClient`.
        http: a client of httpx to use instead of an own one. It is not closed.
        sleep: pauses for that many seconds.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout: float = SECONDS, in_flight: int = IN_FLIGHT, bulk: bool = False,
        patience: float | None = None,
        http: httpx.AsyncClient | None = None, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._manner = Manner(api_key, timeout, in_flight, bulk, patience)
        self._url = checked_url(url)
        self._own = http is None
        self._http = http or httpx.AsyncClient()
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._own:
            await self._http.aclose()

    async def embed(
        self, notes: Iterable[NoteLike], *, store: bool = True, strict: bool = False, vectors: bool = True,
        suggest: SuggestRequest | None = None, timeout: float | None = None, progress: bool = False,
    ) -> list[EmbeddedNote]:  # fmt: skip
        """See `NoteClient.embed`."""
        wished = suggest.model_dump() if suggest else None
        return await self._in_parts(
            notes, MOST_SUGGESTED if suggest else MOST_NOTES,
            lambda part: calls.embed(part, store=store, strict=strict, vectors=vectors, suggest=wished), timeout, progress,
        )  # fmt: skip

    async def suggest(
        self, notes: Iterable[NoteLike], *, count: int = 5, category: bool = True, timeout: float | None = None, progress: bool = False
    ) -> list[HashtaggedNote]:  # fmt: skip
        """See `NoteClient.suggest`."""
        return await self._in_parts(
            notes, MOST_SUGGESTED, lambda part: calls.suggest(part, count=count, category=category), timeout, progress
        )

    async def similar(self, note_id: str, *, timeout: float | None = None, **wanted: Unpack[Wanted]) -> SimilarResponse:
        """The nearest neighbours of a stored note."""
        return await self.ask(calls.similar(note_id, neighbours_of(wanted)), timeout)

    async def similar_to(
        self, note: NoteLike | None = None, *, ids: Sequence[str] | None = None, exclude: Sequence[str] = (),
        skip_missing: bool = False, timeout: float | None = None, **wanted: Unpack[Wanted],
    ) -> SimilarResponse:  # fmt: skip
        """See `NoteClient.similar_to`."""
        asked: Json = {
            "note": calls.as_json(note) if note is not None else None,
            "ids": listed(ids, "ids") if ids is not None else None,
        }
        return await self.ask(
            calls.similar_to(
                {**asked, "exclude": listed(exclude, "exclude"), "skip_missing": skip_missing, **neighbours_of(wanted)}
            ),
            timeout,
        )

    async def get(self, note_id: str, *, vector: bool = False, timeout: float | None = None) -> StoredNoteWithVector:
        """A stored note; `NoteNotFound` if there is none."""
        return await self.ask(calls.get(note_id, vector=vector), timeout)

    async def delete(self, note_id: str, *, timeout: float | None = None) -> bool:
        """Deletes a note. False if there was none, or if an earlier try deleted it and its answer was lost."""
        try:
            await self.ask(calls.delete(note_id), timeout)
        except NoteNotFound:
            return False
        return True

    async def iter_notes(self, *, timeout: float | None = None) -> AsyncIterator[StoredNoteWithVector]:
        """All stored notes with their vectors, page by page. The API key needs the scope `admin`."""
        page = await self.ask(calls.page(), timeout)
        for note in page.notes:
            yield note
        while page.next is not None:
            page = await self.ask(calls.page(page.next, page.vector_name), timeout)
            for note in page.notes:
                yield note

    async def encode(
        self, texts: Sequence[str], *, timeout: float | None = None, progress: bool = False
    ) -> "npt.NDArray[np.float32]":
        """Unit vectors of texts, which are not stored, (texts, dimensions), as sentence-transformers' `encode` gives them."""
        return as_array(await self._in_parts(
            [{"content": text} for text in listed(texts, "texts")], MOST_NOTES,
            lambda part: calls.encode([one["content"] for one in part]), timeout, progress,
        ))  # fmt: skip

    async def model(self, *, timeout: float | None = None) -> ModelInfo:
        """What is served."""
        return await self.ask(calls.model(), timeout)

    async def ask(self, call: Call[AnswerT], timeout: float | None = None) -> AnswerT:
        """Sends a call until it is answered."""
        trying = Trying(
            call, self._manner.timeout if timeout is None else timeout, self._manner.headers, self._url, self._manner.patience
        )
        async for attempt in AsyncRetrying(**trying.policy, sleep=self._sleep):
            with attempt:
                request = trying.request()
                try:
                    async with asyncio.timeout(request["timeout"]):  # httpx limits each step, not their sum
                        response = await self._http.request(**request)
                except (httpx.RequestError, TimeoutError, ValueError, TypeError) as error:
                    raise trying.failed(error) from error
                answer: AnswerT = trying.read(response)
                return answer
        raise AssertionError("unreachable")

    async def _in_parts(
        self, notes: Iterable[NoteLike], most: int, make: Callable[[list[Json]], Call[list[AnswerT]]], timeout: float | None,
        progress: bool,
    ) -> list[AnswerT]:  # fmt: skip
        fields = list(map(calls.as_json, notes))
        answers: dict[int, AnswerT] = {}
        room = asyncio.Semaphore(self._manner.in_flight)

        async def send(part: Part) -> None:
            async with room:
                answered = await self._part(part, make, timeout)
            answers.update(answered)
            advance(len(answered))

        with progress_bar(len(fields), shown=progress) as advance:
            for parts in rounds(fields, most):
                sent = [asyncio.create_task(send(part)) for part in parts]
                try:
                    await asyncio.gather(*sent)
                finally:
                    for task in sent:
                        task.cancel()
                    await asyncio.gather(*sent, return_exceptions=True)
        return collected(answers)

    async def _part(
        self, part: Part, make: Callable[[list[Json]], Call[list[AnswerT]]], timeout: float | None
    ) -> Numbered[AnswerT]:
        try:
            return list(zip(part.places, await self.ask(make(part.notes), timeout), strict=True))
        except ServiceProblem as problem:
            if not (problem.too_many and (halves := part.halves())):
                problem.place(part.places)
                raise
        return [answer for half in halves for answer in await self._part(half, make, timeout)]
