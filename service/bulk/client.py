"""`ServiceClient`: a client of `notellm-serve` that has time: it waits as it is told, and comes back."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay, wait_exponential_jitter

from service.caller import Priority
from service.errors import CommandError

Json = dict[str, Any]
REQUEST_SECONDS = 600
_PLACE = re.compile(r"notes\[(\d+)\]")
_TOGETHER = {"notes", "body"}
# The service is busy or on its way out; it says when to come back.
_BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_WANTS_A_KEY = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_backoff = wait_exponential_jitter(multiplier=0.5, max=30)


class Refused(CommandError):
    """The service refused a request, for a reason that repeating it does not mend.

    Attributes:
        status: of the answer.
        reasons: what is wrong with which note of the request, as far as the answer says so.
        too_many: whether the notes are too many or too large together, so that fewer of them may be taken.
    """

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(f"the service answers {status}: {problem.get('detail', 'it does not say why')}")
        self.status = status
        self.reasons: dict[int, str] = {}
        errors = problem.get("errors", [])
        too_large = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        self.too_many = too_large or (bool(errors) and {error["field"] for error in errors} <= _TOGETHER)
        for error in errors:
            if place := _PLACE.match(error["field"]):
                field = error["field"][place.end() :].lstrip(".")
                self.reasons.setdefault(int(place[1]), f"{field}: {error['message']}" if field else error["message"])

    def place(self, places: Sequence[int]) -> None:
        """Says where the notes of the request stand among more of them, so that the reasons are those of the right ones."""
        self.reasons = {places[number]: reason for number, reason in self.reasons.items()}


class _Busy(Exception):
    """Come back later."""

    def __init__(self, reason: str, seconds: float | None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class ServiceClient:
    """Asks a service.

    Args:
        http: with the service's address and, where it asks for one, its key.
        patience: seconds after which a request is not tried again; it is given up at once where the next try would come later.
    """

    def __init__(self, http: httpx.AsyncClient, *, patience: float) -> None:
        self._http = http
        self._patience = patience

    async def get(self, path: str, **query: str | int) -> Json:
        """See `post`."""
        return await self._ask("GET", path, params=query)

    async def find_note(self, note_id: str) -> Json | None:
        """A note as it is stored; None if it is not. See `post`."""
        try:
            return await self.get(f"/notes/{note_id}")
        except Refused as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def post(self, path: str, body: Json) -> Json:
        """The answer to a request, however often it has to be repeated for that.

        Raises:
            Refused: repeating it would not help.
            CommandError: the service was busy or away for too long, or wants a key.
        """
        return await self._ask("POST", path, json=body)

    async def _ask(self, method: str, path: str, **content: Any) -> Json:  # noqa: ANN401
        trying = AsyncRetrying(
            retry=retry_if_exception_type(_Busy), wait=_wait, stop=stop_before_delay(self._patience), reraise=True
        )
        headers = {"X-Priority": Priority.BULK, "X-Request-Timeout": str(REQUEST_SECONDS)}
        try:
            async for attempt in trying:
                with attempt:
                    return _read(await self._send(method, path, headers, **content))
        except _Busy as busy:
            raise CommandError(
                f"gave up, since it takes more than {self._patience:g} seconds of waiting: {busy}. The same command goes on later"
            ) from busy
        raise AssertionError("unreachable")

    async def _send(self, method: str, path: str, headers: Mapping[str, str], **content: Any) -> httpx.Response:  # noqa: ANN401
        try:
            return await self._http.request(method, path, headers=headers, **content)
        except httpx.TransportError as error:
            raise _Busy(f"{self._http.base_url} does not answer ({error or type(error).__name__})", None) from error


def _wait(state: RetryCallState) -> float:
    busy = state.outcome.exception() if state.outcome else None
    return busy.seconds if isinstance(busy, _Busy) and busy.seconds is not None else _backoff(state)


def _read(response: httpx.Response) -> Json:
    if response.is_success:
        answer: Json = response.json()
        return answer
    problem = _problem(response)
    if response.status_code in _BUSY:
        after = response.headers.get("retry-after", "")
        raise _Busy(
            f"the service answers {response.status_code}: {problem.get('detail', '')}",
            float(after) if after.isdigit() else None,
        )
    if response.status_code in _WANTS_A_KEY:
        raise CommandError(f"the service refuses the API key: {problem.get('detail', '')}. Set NOTELLM_API_KEY")
    raise Refused(response.status_code, problem)


def _problem(response: httpx.Response) -> Json:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {"detail": response.text[:300] or response.reason_phrase}
