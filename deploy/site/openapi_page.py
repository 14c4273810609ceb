"""The page "every call": the OpenAPI document of the service as text and tables, which need no script and are found by the search."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from service.http import create_app
from service.serving import Runtime
from service.settings import Settings

Json = dict[str, Any]
_REFERENCE = "#/components/schemas/"
# What a schema may limit, as it is written in a table.
_LIMITS = {
    "minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters", "maxLength": "at most {} characters",
    "minItems": "at least {}", "maxItems": "at most {}", "pattern": "matches `{}`",
}  # fmt: skip


def describe() -> Json:
    """The document of a service that has API keys, which is the one with all answers. No model is loaded."""
    runtime = cast("Runtime", SimpleNamespace(keys=True, metrics=None))
    return create_app(runtime, Settings(checkpoint=Path("checkpoint"))).openapi()


def write_page(document: Json, file: str) -> str:
    """The document in Markdown.

    Args:
        document: the OpenAPI document.
        file: its address, from the page.
    """
    schemas: Json = document["components"]["schemas"]
    opening = (
        "# Every call\n\n"
        f"This page is made from the service's [OpenAPI document]({file}); [API](api.md) explains the calls with examples. "
        "A running service serves the document under `/openapi.json`, and a page on which you can try the calls under `/docs`. "
        "The answers 401 and 403 come only from services with [API keys](security.md#keys).\n"
    )
    calls = [
        _call(method.upper(), path, operation) for path, item in document["paths"].items() for method, operation in item.items()
    ]
    types = [_schema(name, schemas[name]) for name in sorted(schemas)]
    return "\n".join([opening, "## Calls\n", *calls, "## Types\n", *types])


def _call(method: str, path: str, operation: Json) -> str:
    parts = [f"### `{method} {path}`", operation.get("description", "")]
    parts += [f"A key needs the scope {_one_of(scopes['key'])}." for scopes in operation.get("security", [])]
    if parameters := operation.get("parameters"):
        parts.append(_table(("parameter", "in", "type", "meaning"), [_parameter(one) for one in parameters]))
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"The body is {_kind(content['schema'])}, as `{kind}`.")
    answers = [
        (f"`{status}`", ", ".join(_bodies(answer)), answer["description"])
        for status, answer in sorted(operation["responses"].items())
    ]
    parts.append(_table(("answer", "body", "meaning"), answers))
    return "\n\n".join(part for part in parts if part) + "\n"


def _parameter(parameter: Json) -> tuple[str, ...]:
    place = parameter["in"] + (", required" if parameter.get("required") else "")
    return f"`{parameter['name']}`", place, _kind(parameter["schema"]), parameter.get("description", "")


def _bodies(answer: Json) -> Iterator[str]:
    for kind, content in answer.get("content", {}).items():
        yield _kind(content["schema"]) if content.get("schema") else f"`{kind}`"


def _schema(name: str, schema: Json) -> str:
    parts = [f"### {name}", schema.get("description", "")]
    if properties := schema.get("properties"):
        required = schema.get("required", [])
        rows = [
            (f"`{field}`" + (", required" if field in required else ""), _kind(one), one.get("description", ""))
            for field, one in properties.items()
        ]
        parts.append(_table(("field", "type", "meaning"), rows))
    else:
        parts.append(_kind(schema))
    if example := schema.get("example"):
        parts.append(f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _kind(schema: Json) -> str:
    """The type, with its limits and its default."""
    limits = [text.format(schema[name]) for name, text in _LIMITS.items() if name in schema]
    if schema.get("default") not in (None, "", []):
        limits.append(f"default `{json.dumps(schema['default'])}`")
    return ", ".join([_plain_kind(schema), *limits])


def _plain_kind(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return _one_of(values)
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    kind = schema.get("type", "any value")
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _one_of(values: list[Any]) -> str:
    return " or ".join(f"`{value}`" for value in values)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ("---",) * len(head), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
