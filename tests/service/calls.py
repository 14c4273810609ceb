"""Notes, and the two calls that most tests of the service make."""

from typing import Any

import httpx
import pytest

Json = dict[str, Any]
NOTES: list[Json] = [
    {"id": "a1", "title": "Cold brew tastes sour #coldbrew", "content": "Grind finer?", "hashtags": ["coffee"], "category": "coffee",
     "created_at": "2026-01-01T00:00:00Z"},
    {"id": "a2", "title": "Espresso grind", "hashtags": ["Coffee"], "category": "coffee", "created_at": "2026-02-01T00:00:00Z"},
    {"id": "b1", "title": "Noisy qubits", "content": "sour " * 300, "category": "quantum computing"},
    {"id": "zh", "title": "周末在家做冷萃咖啡", "content": "冷水浸泡十二小时"},
]  # fmt: skip


async def embed(client: httpx.AsyncClient, notes: list[Json], **options: object) -> list[Json]:
    response = await client.post("/notes/embed", json={"notes": notes, **options})
    assert response.status_code == 200, response.text
    embedded: list[Json] = response.json()["notes"]
    return embedded


async def neighbours(client: httpx.AsyncClient, path: str, **query: object) -> list[Json]:
    response = await client.get(path, params=query)  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    found: list[Json] = response.json()["neighbours"]
    return found


# Of tests that use the fixture `shared`: the service lives on the event loop of its module.
on_shared_loop = pytest.mark.asyncio(loop_scope="module")
