"""The OpenAPI description tells the truth: its examples are sent, and schemathesis tries to break what it promises."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from harness.service import running_service
from notellm import Note
from notellm.messages import StoredNote

Json = dict[str, Any]
WRITES = {
    ("post", "/notes/embed"), ("delete", "/notes/{note_id}"), ("post", "/admin/notes"), ("post", "/admin/notes/deleted"),
    *(("post", f"/admin/migration/{change}") for change in ("switch", "rollback", "finish", "cancel")),
}  # fmt: skip


def operations(schema: Json) -> list[tuple[str, str, Json]]:
    """Method, path and description of every call: the embed example first, since others name its note; deletion last."""
    calls = [(method, path, operation) for path, item in schema["paths"].items() for method, operation in item.items()]
    first = {"post /notes/embed": 0}
    return sorted(calls, key=lambda call: (first.get(f"{call[0]} {call[1]}", 1), call[0] == "delete"))


def resolve(schema: Json, node: Json) -> Json:
    while "$ref" in node:
        found: Json = schema
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


async def test_every_call_has_an_example_that_works(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    for method, path, operation in operations(schema):
        if (method, path) == ("post", "/admin/notes"):  # takes vectors of the served model only: bulk/test_backup.py
            continue
        if path.startswith("/admin/migration") and (method, path) != ("get", "/admin/migration"):
            continue  # they need another checkpoint, and one another: test_migration.py
        filled, body = path, None
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                value = next(iter(parameter["examples"].values()))["value"]
                served = "tiny" if path == "/v1/models/{model}" else value  # the description does not say what is served
                filled = filled.replace(f"{{{parameter['name']}}}", served)
        if "requestBody" in operation:
            body = resolve(schema, operation["requestBody"]["content"]["application/json"]["schema"])["example"]
        response = await client.request(method, filled, json=body)
        assert response.status_code in {200, 204}, (method, path, response.text)
        assert operation["description"], (method, path)


def test_answers_show_every_field_of_a_note() -> None:
    assert Note.model_fields.keys() <= StoredNote.model_fields.keys(), "see docs/recipes.md, A new field of a note"


async def test_errors_are_described_as_problem_json(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    for method, path, operation in operations(schema):
        if path.startswith(("/notes", "/v1", "/admin")):
            for status, response in operation["responses"].items():
                if status.startswith(("4", "5")):
                    assert list(response["content"]) == ["application/problem+json"], (method, path, status)
            assert {"422", "503"} <= set(operation["responses"]), (method, path)
    assert "HTTPValidationError" not in schema["components"]["schemas"]


async def test_what_limits_may_refuse_is_described(client: httpx.AsyncClient) -> None:
    """A body that finds no room, and a write to a disk that is nearly full: `tests/faults/test_disk.py`."""
    schema = (await client.get("/openapi.json")).json()
    for method, path, operation in operations(schema):
        if method == "post":
            # Also where a call takes no body: one that is sent all the same is read and measured.
            assert {"400", "413", "415", "429"} <= set(operation["responses"]), path
        if (method, path) in WRITES:
            assert "507" in operation["responses"], path
    assert {(method, path) for method, path, _ in operations(schema)} >= WRITES


@pytest.fixture(scope="module")
def api_schema(tmp_path_factory: pytest.TempPathFactory, tiny_path: Path) -> Iterator[Any]:
    """The description of a service that runs as a process of its own."""
    with running_service(tiny_path, tmp_path_factory.mktemp("data")) as service:
        yield schemathesis.openapi.from_url(f"{service.url}/openapi.json")
        assert service.get("/health/ready").status_code == 200


def allow_time(case: Any) -> None:
    """A deadline that is right and cannot be met is a 504, as it should be: such ones are left to test_request_lifetime.py."""
    for name in [name for name in case.headers or () if name.lower() == "x-request-timeout"]:
        try:
            if 0 < float(case.headers[name]) < 600:
                case.headers[name] = "600"
        except ValueError:
            continue


def test_no_request_makes_the_service_fail(api_schema: Any) -> None:
    """No 5xx, and nothing but what the description promises; some of the requests must be good ones."""
    accepted: Counter[str] = Counter()
    for result in api_schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
        @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
        def fuzz(case: Any) -> None:
            allow_time(case)
            response = case.call()
            accepted["good" if response.status_code < 300 else "refused"] += 1
            # JSON Schema cannot say that a text may not be blank, so some described requests are refused with a 422.
            case.validate_response(response, excluded_checks=[positive_data_acceptance])

        fuzz()
    assert accepted.total() >= 250
    assert accepted["good"] >= 20, accepted
