"""`ServiceClient`: the patient client of the bulk commands. They read and write JSON as it is, so that files keep every field."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from notellm.client import AsyncNoteClient, Busy, DeadlineMissed, NotAllowed, NoteNotFound, Unreachable
from notellm.client.calls import Call
from service.errors import CommandError

Json = dict[str, Any]
REQUEST_SECONDS = 600


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
        self._patience = patience
        self._client = AsyncNoteClient(
            str(http.base_url), http=http, timeout=REQUEST_SECONDS + patience, patience=patience, bulk=True, sleep=sleep
        )

    async def get(self, path: str, **query: str | int) -> Json:
        """See `post`."""
        return await self._ask(Call("GET", path, _as_it_is, query))

    async def find_note(self, note_id: str) -> Json | None:
        """A note as it is stored; None if it is not. See `post`."""
        try:
            return await self.get(f"/notes/{note_id}")
        except NoteNotFound:
            return None

    async def post(self, path: str, body: Json) -> Json:
        """Sends a request until it is answered; returns the answer.

        Raises:
            ServiceProblem, NotTheService: the service refuses the request, and trying again would not help.
            CommandError: the service was busy or away for too long, or refuses the API key.
        """
        return await self._ask(Call("POST", path, _as_it_is, body=body))

    async def _ask(self, call: Call[Json]) -> Json:
        try:
            return await self._client.ask(call)
        except DeadlineMissed as missed:
            raise CommandError(f"gave up: {missed}. Run the same command later to continue") from missed
        except (Busy, Unreachable) as busy:
            raise CommandError(
                f"gave up, because this needs more than {self._patience:g} seconds of waiting: {busy}. "
                "Run the same command later to continue"
            ) from busy
        except NotAllowed as refusal:
            raise CommandError(f"the service refuses the API key: {refusal.detail}. Set NOTELLM_API_KEY") from refusal


def _as_it_is(answer: Any) -> Json:  # noqa: ANN401
    read: Json = answer
    return read
