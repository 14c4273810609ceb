"""The service in this process, asked in ASGI itself: a client of HTTP would not let the worst through."""

import asyncio
import gc
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.types import ASGIApp, Message

from service.http import create_app
from service.serving import Runtime, open_service
from service.settings import Settings
from tests.fuzz.hostile import Sent

HANG_SECONDS = 120


@dataclass(frozen=True)
class Held:
    """What the process holds while nothing is asked of it. The index maps its files, and its log comes in pieces of 32 MiB."""

    anonymous_mib: float
    mapped_mib: float
    file_descriptors: int
    tasks: int


@dataclass
class InProcess:
    """A service that stands still between two requests."""

    runner: asyncio.Runner
    app: ASGIApp
    runtime: Runtime
    slowest: float = 0.0

    def ask(self, sent: Sent) -> httpx.Response:
        """Raises `TimeoutError` when there is no answer after 30 s."""
        start = time.perf_counter()
        response = self.runner.run(asyncio.wait_for(_ask(self.app, sent), HANG_SECONDS))
        response.elapsed = timedelta(seconds=time.perf_counter() - start)
        self.slowest = max(self.slowest, response.elapsed.total_seconds())
        return response

    def get(self, target: str) -> Any:
        """What a GET answers, which must be a 200."""
        response = self.ask(Sent("", "GET", target))
        assert response.status_code == 200, response.text
        return response.json() if "json" in response.headers["content-type"] else response.text

    def held(self) -> Held:
        """Measures."""
        gc.collect()
        files = len(list(Path("/proc/self/fd").iterdir()))
        sizes = dict(re.findall(r"^(Pss_\w+): +(\d+) kB$", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE))
        return Held(int(sizes["Pss_Anon"]) / 1024, int(sizes["Pss_File"]) / 1024, files, self.runner.run(_tasks()))


@contextmanager
def in_process(settings: Settings) -> Iterator[InProcess]:
    """Opens the service on an event loop of its own."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        runtime = runner.run(stack.enter_async_context(open_service(settings)))
        try:
            yield InProcess(runner, create_app(runtime, settings), runtime)
        finally:
            runner.run(stack.aclose())


async def _ask(app: ASGIApp, sent: Sent) -> httpx.Response:
    """As uvicorn calls an application."""
    path, _, query = sent.target.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": sent.method, "path": unquote(path), "raw_path": path.encode("ascii"), "query_string": query.encode("ascii"),
        "headers": list(sent.headers), "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip
    unread, left, answers = [sent.content], asyncio.Event(), list[Message]()

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answers.append(message)

    await app(scope, receive, send)
    left.set()
    return httpx.Response(
        answers[0]["status"], headers=answers[0]["headers"], content=b"".join(part.get("body", b"") for part in answers[1:])
    )


async def _tasks() -> int:
    return len(asyncio.all_tasks())
