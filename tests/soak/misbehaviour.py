"""Clients that nobody wants: that hang up in the middle, send what is none, or ask for more than can be done."""

import json
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

import httpx

from tests.acknowledged import Fields
from tests.fuzz.hostile import NASTY
from tests.soak.observations import Observations
from tests.soak.site import Site

HANG_UPS = "hangups"
HOSTILE = "hostile"
BURST = "burst"
CLIENTS = [HANG_UPS, HOSTILE, BURST]
HANG_UP_IDS = 100
BURST_THREADS = 12
BURST_NOTES = 24
MIB = 2**20


def left_note(number: int) -> Fields:
    """What a client that hangs up may leave behind: one and the same text for an id."""
    return {
        "id": f"left-{number}",
        "title": f"left {number}",
        "content": "before the answer " * (number % 20 + 1),
        "version": 1,
    }


class Misbehaviour:
    """Does it for some seconds.

    Args:
        site: to which it is done.
    """

    def __init__(self, site: Site, seen: Observations) -> None:
        self._site = site
        self._seen = seen
        self._rng = random.Random(7)

    def hang_up(self, seconds: float) -> None:
        """Half a head, half a body, a whole request whose answer nobody waits for; closed, and reset."""
        for _ in self._until(seconds, pause=0.05):
            body = json.dumps({"notes": [left_note(self._rng.randrange(HANG_UP_IDS))]}).encode()
            path, length = "/notes/embed", len(body)
            if self._rng.random() < 0.3:
                path, body = "/notes/hashtags", json.dumps({"notes": [{"title": "who waits?"}], "count": 1}).encode()
                length = len(body)
            whole = self._head("POST", path, length, HANG_UPS) + body
            cut = self._rng.choice([len(whole), len(whole), len(whole) - length // 2, 40])
            with socket.create_connection(("127.0.0.1", self._site.port), timeout=30) as connection:
                connection.sendall(whole[:cut])
                time.sleep(self._rng.choice([0, 0.002, 0.02]))
                if self._rng.random() < 0.5:  # a reset instead of a goodbye
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def be_hostile(self, seconds: float) -> None:
        """Bodies and heads that break a rule: every one of them is refused, and none with a 5xx."""
        bodies = _hostile_bodies()
        with httpx.Client(base_url=self._site.url, timeout=60, trust_env=False) as client:
            for _ in self._until(seconds, pause=0.01):
                self._send_hostile(client, *self._rng.choice(bodies))
                self._send_nasty_text(client)
                self._send_no_http()

    def burst(self, seconds: float) -> None:
        """More than the queue holds, from one client: it is refused with a 429 that says when to come back."""
        threads = [threading.Thread(target=self._burst, args=(seconds, number)) for number in range(BURST_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _burst(self, seconds: float, seed: int) -> None:
        rng = random.Random(seed)
        with httpx.Client(base_url=self._site.url, timeout=60, trust_env=False) as client:
            for _ in self._until(seconds, pause=0.1):
                notes = [
                    {"id": f"b{number}", "title": f"{rng.random()}", "content": "more " * 250} for number in range(BURST_NOTES)
                ]
                begun = self._seen.now()
                body = {"notes": notes, "store": False, "vectors": False}
                answer = client.post("/notes/embed", json=body, headers=self._site.headers(BURST))
                self._seen.answered(self._site.name, "burst", begun, answer)
                if answer.status_code == 429 and int(answer.headers.get("Retry-After", 0)) < 1:
                    self._seen.violations.append("a 429 without Retry-After")

    def _send_hostile(self, client: httpx.Client, method: str, path: str, content: bytes, headers: dict[str, str]) -> None:
        begun, answer = self._seen.now(), None
        sent = {"Content-Type": "application/json", **self._site.headers(HOSTILE), **headers}
        try:
            answer = client.request(method, path, content=content, headers=sent)
        except httpx.TransportError:
            if len(content) > MIB:  # refused by its declared length, and the connection closed while it was still being sent
                return
        self._seen.answered(self._site.name, "hostile", begun, answer)
        status = answer.status_code if answer else "broken connection"
        if answer is None or not answer.is_client_error:
            self._seen.violations.append(f"hostile {method} {path} {content[:80]!r} {headers} is a {status}")

    def _send_nasty_text(self, client: httpx.Client) -> None:
        """Which is a text like any other."""
        begun, text = self._seen.now(), "".join(self._rng.choices(NASTY, k=20))
        body = {"notes": [{"id": "nasty", "title": f"t{text}"[:2000]}], "store": False}
        answer = client.post("/notes/embed", json=body, headers=self._site.headers(HOSTILE))
        self._seen.answered(self._site.name, "nasty text", begun, answer)
        if answer.status_code != 200:
            self._seen.violations.append(f"nasty text is a {answer.status_code}: {text!r}")

    def _send_no_http(self) -> None:
        """What is not even a request: a 4xx in plain text, or nothing."""
        with socket.create_connection(("127.0.0.1", self._site.port), timeout=30) as connection:
            connection.sendall(
                self._rng.choice([b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50 + b"x\r\n\r\n"])
            )
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
        if b" 5" in answer[:12]:
            self._seen.violations.append(f"what is no HTTP is answered by {answer!r}")

    def _head(self, method: str, path: str, length: int, client: str) -> bytes:
        headers = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(length), **self._site.headers(client)}
        return "\r\n".join(
            [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        ).encode()

    def _until(self, seconds: float, pause: float) -> Iterator[None]:
        end = self._seen.now() + seconds
        while self._seen.now() < end:
            yield
            time.sleep(pause)


Hostile = tuple[str, str, bytes, dict[str, str]]


def _hostile_bodies() -> list[Hostile]:
    embed, good = "/notes/embed", json.dumps({"notes": [{"id": "x", "title": "t"}], "store": False}).encode()
    posts = [
        b"", b"{", b"null", b"\xff\xfe\x00", b"[" * 50_000, b'{"a":' * 9_000, b'{"notes": 1}', b'{"notes": []}', b'{"notes": [null]}',
        b'{"notes": [{"id": "a/b", "title": "t"}]}', b'{"notes": [{"id": "x"}]}',
        b'{"notes": [{"id": "x", "title": "\\ud800"}], "more": 1}',
        b'{"notes": [{"id": "x", "title": "t", "version": 1e999}]}', b'{"notes": [{"id": "x", "title": "t", "version": NaN}]}',
        b'{"notes": [{"id": "x", "title": "t", "version": ' + b"9" * 5000 + b"}]}",
        b'{"notes": [{"id": "x", "title": "t", "created_at": "9999-12-31T23:59:59Z"}]}',
        json.dumps({"notes": [{"id": "x", "title": "t"}] * 2}).encode(),
        json.dumps({"notes": [{"id": f"n{number}", "title": "t"} for number in range(300)]}).encode(),
        json.dumps({"notes": [{"id": "x", "title": "t" * 300_000}]}).encode(),
        b" " * (5 * MIB),
    ]  # fmt: skip
    return [
        *(("POST", embed, body, {}) for body in posts),
        ("POST", embed, good, {"Content-Type": "text/plain"}),
        ("POST", embed, good, {"X-Request-Timeout": "nan"}),
        ("POST", embed, good, {"X-Priority": "urgent"}),
        ("POST", "/notes/hashtags", b'{"notes": [{"title": "t"}], "count": 11}', {}),
        ("POST", "/notes/similar", b'{"note": {"title": "t"}, "ids": ["x"]}', {}),
        ("POST", "/v1/embeddings", b'{"input": [1, 2, 3]}', {}),
        ("PUT", embed, good, {}),
        ("GET", "/notes/%00", b"", {}),
        ("GET", "/notes/nobody-has-this/similar?limit=-1", b"", {}),
        ("GET", "/nowhere", b"", {}),
        ("GET", "/admin/notes", b"", {}),
    ]  # fmt: skip
