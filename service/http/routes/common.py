"""What the routes share: the running service, and how vectors and errors are written."""

from typing import Annotated, Any

from fastapi import Depends, Header, Request

from service.caller import MAX_TIMEOUT_SECONDS, Priority
from service.errors import PROBLEM_JSON
from service.http.schemas import Encoding
from service.notes import Vector, vector_to_base64
from service.serving import Runtime, ServedModel
from service.settings import Settings


# Dependencies are coroutines although they wait for nothing: FastAPI hands plain functions to a thread, one after another.
async def get_runtime(request: Request) -> Runtime:
    """The running service."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def get_settings(request: Request) -> Settings:
    """The settings that it runs with."""
    settings: Settings = request.app.state.settings
    return settings


async def get_served(request: Request) -> ServedModel:
    """The model that answers this request, to its end."""
    runtime: Runtime = request.app.state.runtime
    return runtime.served


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]
ServedDep = Annotated[ServedModel, Depends(get_served)]
SettingsDep = Annotated[Settings, Depends(get_settings)]


async def check_caller(
    x_request_timeout: Annotated[
        float | None,
        Header(
            gt=0, le=MAX_TIMEOUT_SECONDS,
            description="Seconds after which you do not wait any more: the answer is a 504 then, or a 429 at once if the queue is "
            "too long for it.",
        ),
    ] = None,
    x_priority: Annotated[
        Priority, Header(description="`bulk` lets the requests of others go first; for back-fills and batch jobs.")
    ] = Priority.INTERACTIVE,
) -> None:  # fmt: skip
    """Describes the headers that `RequestLifetime` acts on, and refuses wrong ones."""


def encode_vector(vector: Vector, encoding: Encoding) -> list[float] | str:
    """A vector as numbers, or as base64 of its little-endian float32 bytes."""
    if encoding == "base64":
        return vector_to_base64(vector)
    return [float(value) for value in vector]


_DESCRIPTIONS = {
    400: "The body is not JSON in UTF-8.",
    404: "There is no note under the id.",
    409: "A migration is in another state; `detail` says in which.",
    413: "The body is over the limit.",
    422: "A field breaks a rule; `errors` names each.",
    429: "Too much work is waiting; come back after `Retry-After` seconds.",
    500: "The model failed on this request.",
    503: "The index or the model's engine does not answer, or the service is shutting down.",
    504: "The time of the request was over before its answer was there.",
    507: "The disk of the embedded index is nearly full; nothing was written.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a call, for its OpenAPI description."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _DESCRIPTIONS[status], "content": content} for status in statuses}
