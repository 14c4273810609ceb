"""A server that answers as a test says, and clients of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, dict[str, str], object]


@dataclass
class Request:
    """What the server received."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any

    @property
    def ids(self) -> list[str]:
        return [note["id"] for note in self.body["notes"]]


@dataclass
class Server:
    """Where it listens, and what it received."""

    url: str
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0


def problem(kind: str, status: int, *, errors: list[dict[str, str]] | None = None, **headers: str) -> Answer:
    document = {"type": f"urn:notellm:problem:{kind}", "title": "x", "status": status, "detail": "because", "request_id": "r-1"}
    return (
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        document | ({"errors": errors} if errors else {}),
    )


@asynccontextmanager
async def serving(answer: Callable[[Request], Answer], *, seconds: float = 0.0) -> AsyncIterator[Server]:
    """Runs a server whose answers come after some seconds. A body of bytes is sent as it is; a status of 0 hangs up."""
    at_once = 0
    handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    # Not a coroutine: it runs for each connection as soon as there is one, also if the test ends at once.
    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers[asyncio.create_task(serve(reader, writer))] = writer

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await respond(reader, writer)
        finally:
            writer.close()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = first.split(" ")
        server.requests.append(request := Request(method, target, headers, json.loads(body) if body else None))
        at_once += 1
        server.most_at_once = max(server.most_at_once, at_once)
        await asyncio.sleep(seconds)
        at_once -= 1
        status, extra, document = answer(request)
        if status:
            content = document if isinstance(document, bytes) else b"" if document is None else json.dumps(document).encode()
            sent = {"content-length": str(len(content)), "connection": "close", **extra}
            lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in sent.items())]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
            await writer.drain()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server = Server(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    async with listening:
        yield server
        # A connection that has just been accepted reaches `accept` within as many steps of the loop. Before the server closes: asyncio
        # would lose it afterwards, without closing it.
        for _ in range(5):
            await asyncio.sleep(0)
        for handler, writer in handlers.items():
            handler.cancel()
            writer.close()
        await asyncio.gather(*handlers, *(writer.wait_closed() for writer in handlers.values()), return_exceptions=True)


def embedded(request: Request) -> Answer:
    """What `POST /notes/embed` answers."""
    notes = [
        {"id": one, "status": "stored", "tokens": 3, "truncated": [], "vector": "AACAPwAAAAA=", "new_field": 1}
        for one in request.ids
    ]
    return 200, {}, {"model": "m", "dimensions": 2, "notes": notes, "new_field": 1}
