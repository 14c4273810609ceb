"""`ServiceClient`: a patient client of `notellm-serve`. When the service is busy, it waits as `Retry-After` says and tries again."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay, wait_exponential_jitter

from service.caller import Priority
from service.errors import CommandError

Json = dict[str, Any]
REQUEST_SECONDS = 600
_PLACE = re.compile(r"notes\[(\d+)\]")
# Fields of errors that are about the notes of a request together.
_ALL_NOTES = {"notes", "body"}
# The service is busy or on its way out; it says when to come back.
_BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_WANTS_A_KEY = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_backoff = wait_exponential_jitter(multiplier=0.5, max=30)


class Refused(CommandError):
    """The service refused a request, and trying again would not help.

    Attributes:
        status: HTTP status of the answer.
        reasons: what is wrong with each note, by its position in the request; only the notes that the answer names.
        too_many: whether the notes together are too many or too large, so that the service may accept fewer of them.
    """

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(f"the service answers {status}: {problem.get('detail', 'it does not say why')}")
        self.status = status
        self.reasons: dict[int, str] = {}
        errors = problem.get("errors", [])
        too_large = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        self.too_many = too_large or (bool(errors) and {error["field"] for error in errors} <= _ALL_NOTES)
        for error in errors:
            if place := _PLACE.match(error["field"]):
                field = error["field"][place.end() :].lstrip(".")
                self.reasons.setdefault(int(place[1]), f"{field}: {error['message']}" if field else error["message"])

    def place(self, places: Sequence[int]) -> None:
        """Maps `reasons` from positions in the request to positions in a longer list: note `i` is number `places[i]` there."""
        self.reasons = {places[number]: reason for number, reason in self.reasons.items()}


class _Busy(Exception):
    """The service is busy or unreachable: try again later.

    Attributes:
        seconds: how long to wait, if the service says so.
    """

    def __init__(self, reason: str, seconds: float | None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class ServiceClient:
    """Sends requests to a service and repeats them while it is busy or away.

    Args:
        http: HTTP client with the address of the service and, if the service needs one, an API key.
        patience: seconds to keep trying one request. It gives up early if the next try would come too late.
        sleep: pauses for that many seconds.
    """

    def __init__(
        self, http: httpx.AsyncClient, *, patience: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._http = http
        self._patience = patience
        self._sleep = sleep

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
        """Sends a request until it is answered; returns the answer.

        Raises:
            Refused: the service refuses the request, and trying again would not help.
            CommandError: the service was busy or away for too long, or refuses the API key.
        """
        return await self._ask("POST", path, json=body)

    async def _ask(self, method: str, path: str, **content: Any) -> Json:  # noqa: ANN401
        trying = AsyncRetrying(
            retry=retry_if_exception_type(_Busy), wait=_wait, stop=stop_before_delay(self._patience), sleep=self._sleep,
            reraise=True,
        )  # fmt: skip
        headers = {"X-Priority": Priority.BULK, "X-Request-Timeout": str(REQUEST_SECONDS)}
        try:
            async for attempt in trying:
                with attempt:
                    return _read(await self._send(method, path, headers, **content))
        except _Busy as busy:
            raise CommandError(
                f"gave up, because this needs more than {self._patience:g} seconds of waiting: {busy}. "
                "Run the same command later to continue"
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
