"""docs/api.md lists every call and every error that there is."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx

from service.errors import ServiceError

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def kinds(error: type[ServiceError]) -> Iterator[str]:
    """The types of all errors under it that a client can see."""
    for one in error.__subclasses__():
        if "kind" in vars(one):
            yield one.kind
        yield from kinds(one)


async def test_every_call_is_listed(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    listed = set(re.findall(r"`((?:GET|POST|DELETE) /[^`?]*)`", section("Calls")))
    moves = set(re.findall(r"`((?:GET|POST) /admin/migration[^`?]*)[`?]", section("To another model")))
    calls = {
        f"{method.upper()} {path.replace('{note_id}', '{id}')}" for path, item in schema["paths"].items() for method in item
    }
    assert listed | moves == calls


def test_every_error_is_listed() -> None:
    found = set(kinds(ServiceError))
    assert len(found) > 15
    listed = set(re.findall(r"^\| `([a-z-]+)` \| \d{3} \|", section("Errors"), re.MULTILINE))
    # These three come from no exception of this project: a wrong path, a wrong method, and a defect.
    assert listed == found | {"not-found", "method-not-allowed", "unexpected"}
