"""The page of all calls."""

import re

import httpx
import pytest

from deploy.site.openapi_page import describe, write_page

DOCUMENT = {
    "paths": {
        "/notes/{id}": {
            "get": {
                "description": "Returns a note.",
                "security": [{"key": ["read"]}],
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^a|b$"}},
                    {
                        "name": "limit",
                        "in": "query",
                        "description": "How many\nat most.",
                        "schema": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 100}, {"type": "null"}]},
                    },
                ],
                "responses": {
                    "404": {
                        "description": "None.",
                        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                    },
                    "200": {"description": "It.", "content": {"text/plain": {}}},
                },
            }
        }
    },
    "components": {
        "schemas": {
            "Problem": {
                "description": "An error.",
                "required": ["type"],
                "properties": {
                    "type": {"enum": ["a", "b"]},
                    "errors": {"type": "array", "items": {"type": "string"}, "default": [1]},
                },
                "example": {"type": "a"},
            },
            "Anything": {},
        }
    },
}
PAGE = write_page(DOCUMENT, "openapi.json")


@pytest.mark.parametrize(
    "line",
    [
        "### `GET /notes/{id}`",
        "A key needs the scope `read`.",
        "| `id` | path, required | string, matches `^a\\|b$` |  |",
        "| `limit` | query | integer, from 1, to 100 or null | How many at most. |",
        "| `200` | `text/plain` | It. |\n| `404` | [Problem](#problem) | None. |",
        "### Problem\n\nAn error.",
        "| `type`, required | `a` or `b` |  |",
        "| `errors` | list of string, default `[1]` |  |",
        '```json\n{\n  "type": "a"\n}\n```',
        "### Anything\n\nany value",
    ],
)
def test_what_is_written_about(line: str) -> None:
    assert line in PAGE


async def test_the_document_is_that_of_a_service(client: httpx.AsyncClient) -> None:
    """Of one without keys, but for the keys."""
    served, described = (await client.get("/openapi.json")).json(), describe()
    assert described["paths"].keys() == served["paths"].keys()
    assert described["components"]["schemas"] == served["components"]["schemas"]
    page = write_page(described, "openapi.json")
    for path, item in served["paths"].items():
        for method in item:
            assert f"\n### `{method.upper()} {path}`\n" in page
    targets = {target.lower() for target in re.findall(r"\]\(#([\w-]+)\)", page)}
    assert targets <= {name.lower() for name in served["components"]["schemas"]}
