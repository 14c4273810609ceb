"""`NoteClient`: calls the service and waits for its answers."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import httpx
from tenacity import Retrying

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
from notellm.client.problems import ClientError, NoteNotFound, ServiceProblem
from notellm.client.retries import Trying
from notellm.messages import EmbeddedNote, HashtaggedNote, ModelInfo, SimilarResponse, StoredNoteWithVector, SuggestRequest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AnswerT = TypeVar("AnswerT")
Numbered = list[tuple[int, AnswerT]]


class NoteClient:
    """A client of one service.

    Long lists are cut into requests, several of which are under way at the same time. When the service is busy, starting or on its way
    out, or does not answer, the client waits as `Retry-After` says and tries again, as long as `timeout` allows. All calls may be
    repeated without harm. Safe to use from several threads. Close it after use, or use it in a `with` block.

    Every method raises what `notellm.client.problems` lists.

    Args:
        url: address of the service, such as `http://127.0.0.1:8000`; a path in front of its own is kept.
        api_key: if the service needs one.
        timeout: seconds for one request, with its repetitions and pauses. Every method takes its own. An answer that comes drop by drop can
            take longer.
        in_flight: requests that one call of a method has under way at the same time.
        bulk: true lets this client's work wait for that of people (`X-Priority`).
        patience: seconds after the first try in which the next may begin; None for `timeout`.
        http: a client of httpx to use instead of an own one, for proxies, certificates or tests. It is not closed.
        sleep: pauses for that many seconds; None for a pause that ends early if another part of a list is refused.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout: float = SECONDS, in_flight: int = IN_FLIGHT, bulk: bool = False,
        patience: float | None = None,
        http: httpx.Client | None = None, sleep: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        self._manner = Manner(api_key, timeout, in_flight, bulk, patience)
        self._url = checked_url(url)
        self._own = http is None
        self._http = http or httpx.Client()
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        if self._own:
            self._http.close()

    def embed(
        self, notes: Iterable[NoteLike], *, store: bool = True, strict: bool = False, vectors: bool = True,
        suggest: SuggestRequest | None = None, timeout: float | None = None, progress: bool = False,
    ) -> list[EmbeddedNote]:  # fmt: skip
        """Embeds notes and stores them under their ids; of two with the same id, the later one stays.

        Args:
            notes: `Note`s, or their fields.
            store: false embeds without storing.
            strict: true refuses a note that is too long, instead of cutting it.
            vectors: false leaves the vectors out of the answers.
            suggest: also suggest hashtags and a category.
            timeout: seconds for each request.
            progress: show a progress bar.

        Returns:
            An answer for each note, in their order. If a part is refused, this waits for those that are under way, which may
            be stored, and sends no more; calling again is safe.
        """
        wished = suggest.model_dump() if suggest else None
        return self._in_parts(
            notes, MOST_SUGGESTED if suggest else MOST_NOTES,
            lambda part: calls.embed(part, store=store, strict=strict, vectors=vectors, suggest=wished), timeout, progress,
        )  # fmt: skip

    def suggest(
        self, notes: Iterable[NoteLike], *, count: int = 5, category: bool = True, timeout: float | None = None, progress: bool = False
    ) -> list[HashtaggedNote]:  # fmt: skip
        """Suggests hashtags and a category for notes, which are not stored; one answer for each note, in their order.

        Args:
            notes: `NoteText`s, or their fields: title, content, hashtags.
            count: most hashtags for each note.
            category: false leaves the category out, which is faster.
            timeout: seconds for each request.
            progress: show a progress bar.
        """
        return self._in_parts(
            notes, MOST_SUGGESTED, lambda part: calls.suggest(part, count=count, category=category), timeout, progress
        )

    def similar(self, note_id: str, *, timeout: float | None = None, **wanted: Unpack[Wanted]) -> SimilarResponse:
        """The nearest neighbours of a stored note."""
        return self.ask(calls.similar(note_id, neighbours_of(wanted)), timeout)

    def similar_to(
        self, note: NoteLike | None = None, *, ids: Sequence[str] | None = None, exclude: Sequence[str] = (),
        skip_missing: bool = False, timeout: float | None = None, **wanted: Unpack[Wanted],
    ) -> SimilarResponse:  # fmt: skip
        """The neighbours of a note that is not stored, or of the mean of several stored notes, such as a user's last reads.

        Args:
            note: a `NoteText`, or its fields; either this or `ids`.
            ids: stored notes.
            exclude: ids that must not be returned.
            skip_missing: true skips `ids` that are not stored and lists them in the answer.
            timeout: seconds for the request.
            **wanted: which neighbours.
        """
        asked: Json = {
            "note": calls.as_json(note) if note is not None else None,
            "ids": listed(ids, "ids") if ids is not None else None,
        }
        return self.ask(
            calls.similar_to(
                {**asked, "exclude": listed(exclude, "exclude"), "skip_missing": skip_missing, **neighbours_of(wanted)}
            ),
            timeout,
        )

    def get(self, note_id: str, *, vector: bool = False, timeout: float | None = None) -> StoredNoteWithVector:
        """A stored note; `NoteNotFound` if there is none."""
        return self.ask(calls.get(note_id, vector=vector), timeout)

    def delete(self, note_id: str, *, timeout: float | None = None) -> bool:
        """Deletes a note. False if there was none, or if an earlier try deleted it and its answer was lost."""
        try:
            self.ask(calls.delete(note_id), timeout)
        except NoteNotFound:
            return False
        return True

    def iter_notes(self, *, timeout: float | None = None) -> Iterator[StoredNoteWithVector]:
        """All stored notes with their vectors, page by page. The API key needs the scope `admin`."""
        page = self.ask(calls.page(), timeout)
        yield from page.notes
        while page.next is not None:
            page = self.ask(calls.page(page.next, page.vector_name), timeout)
            yield from page.notes

    def encode(
        self, texts: Sequence[str], *, timeout: float | None = None, progress: bool = False
    ) -> "npt.NDArray[np.float32]":
        """Unit vectors of texts, which are not stored, (texts, dimensions), as sentence-transformers' `encode` gives them."""
        return as_array(self._in_parts(
            [{"content": text} for text in listed(texts, "texts")], MOST_NOTES,
            lambda part: calls.encode([one["content"] for one in part]), timeout, progress,
        ))  # fmt: skip

    def model(self, *, timeout: float | None = None) -> ModelInfo:
        """What is served."""
        return self.ask(calls.model(), timeout)

    def ask(self, call: Call[AnswerT], timeout: float | None = None) -> AnswerT:
        """Sends a call until it is answered."""
        return self._ask(call, timeout, threading.Event())

    def _ask(self, call: Call[AnswerT], timeout: float | None, given_up: threading.Event) -> AnswerT:
        trying = Trying(
            call, self._manner.timeout if timeout is None else timeout, self._manner.headers, self._url, self._manner.patience
        )
        for attempt in Retrying(**trying.policy, sleep=self._sleep or _until(given_up)):
            with attempt:
                if given_up.is_set():
                    raise ClientError("given up, because another part of the list was refused")
                request = trying.request()
                try:
                    response = self._http.request(**request)
                except (httpx.RequestError, ValueError, TypeError) as error:
                    raise trying.failed(error) from error
                answer: AnswerT = trying.read(response)
                return answer
        raise AssertionError("unreachable")

    def _in_parts(
        self, notes: Iterable[NoteLike], most: int, make: Callable[[list[Json]], Call[list[AnswerT]]], timeout: float | None,
        progress: bool,
    ) -> list[AnswerT]:  # fmt: skip
        fields = list(map(calls.as_json, notes))
        answers: dict[int, AnswerT] = {}
        given_up = threading.Event()
        with progress_bar(len(fields), shown=progress) as advance, ThreadPoolExecutor(self._manner.in_flight) as pool:
            for parts in rounds(fields, most):
                sent = [pool.submit(self._part, part, make, timeout, given_up) for part in parts]
                try:
                    for done in as_completed(sent):
                        answers.update(done.result())
                        advance(len(done.result()))
                except BaseException:
                    given_up.set()  # requests that are under way end, and none is repeated
                    pool.shutdown(cancel_futures=True)
                    raise
        return collected(answers)

    def _part(
        self, part: Part, make: Callable[[list[Json]], Call[list[AnswerT]]], timeout: float | None, given_up: threading.Event
    ) -> Numbered[AnswerT]:
        try:
            return list(zip(part.places, self._ask(make(part.notes), timeout, given_up), strict=True))
        except ServiceProblem as problem:
            if not (problem.too_many and (halves := part.halves())):
                problem.place(part.places)
                raise
        return [answer for half in halves for answer in self._part(half, make, timeout, given_up)]


def _until(given_up: threading.Event) -> Callable[[float], None]:
    """A pause that ends early."""

    def pause(seconds: float) -> None:
        given_up.wait(seconds)

    return pause
