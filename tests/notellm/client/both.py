"""`Both` calls either client from asyncio, where the server of the test runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from notellm.client import AsyncNoteClient, NoteClient
from tests.notellm.client.service import Answer, Request


class Both:
    """Either client, and how long it has paused each time."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pauses: list[float] = []

    def __call__(self, url: str, *, pauses: bool = False, **settings: Any) -> Callable[..., Awaitable[Any]]:
        """A caller of a client. `pauses`: whether it really pauses, instead of writing it down."""
        if self.kind == "async":

            async def pause(seconds: float) -> None:
                self.pauses.append(seconds)

            async def call(method: str, *args: Any, **options: Any) -> Any:
                async with AsyncNoteClient(url, sleep=asyncio.sleep if pauses else pause, **settings) as client:
                    if method == "iter_notes":
                        return [note async for note in client.iter_notes(**options)]
                    return await getattr(client, method)(*args, **options)

            return call

        def wait(method: str, *args: Any, **options: Any) -> Any:
            with NoteClient(url, sleep=None if pauses else self.pauses.append, **settings) as client:
                found = getattr(client, method)(*args, **options)
                return list(found) if method == "iter_notes" else found

        async def in_thread(method: str, *args: Any, **options: Any) -> Any:
            return await asyncio.to_thread(wait, method, *args, **options)

        return in_thread


def notes(count: int) -> list[dict[str, str]]:
    return [{"id": f"n{number}", "title": "x"} for number in range(count)]


def one_after_another(*answers: Answer) -> Callable[[Request], Answer]:
    """The answers in order; the last one again and again."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]
