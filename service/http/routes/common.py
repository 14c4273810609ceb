"""Shared by the routes: access to the running service, the headers of every call, the encoding of vectors, lists of errors."""

from typing import Annotated

from fastapi import Depends, Header, Request

from notellm.messages import Encoding
from service.caller import MAX_TIMEOUT_SECONDS, Priority
from service.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EngineUnavailable,
    InvalidRequest,
    ModelFailed,
    QueueFull,
    ShuttingDown,
    UnreadableBody,
    UnsupportedEncoding,
)
from service.notes import Vector, vector_to_base64
from service.serving import Runtime, ServedModel
from service.settings import Settings

# The errors of calls, by what a call does. `describe_access` adds those of keys and rate limits.
EVERY_CALL = (InvalidRequest, ShuttingDown, DeadlineExceeded)
READS_BODY = (UnreadableBody, BodyTooLarge, UnsupportedEncoding, QueueFull)
RUNS_MODEL = (QueueFull, ModelFailed, EngineUnavailable)


# Dependencies are coroutines although they wait for nothing: FastAPI would run each plain function in a thread.
async def get_runtime(request: Request) -> Runtime:
    """Returns the running service."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def get_settings(request: Request) -> Settings:
    """Returns the settings of the running service."""
    settings: Settings = request.app.state.settings
    return settings


async def get_served(request: Request) -> ServedModel:
    """Returns the model that answers this request, from its start to its end."""
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
            description="Seconds that you will wait. After that, the answer is a 504; if the queue is too long for an answer in time, "
            "it is a 429 at once.",
        ),
    ] = None,
    x_priority: Annotated[
        Priority, Header(description="`bulk` lets interactive requests go first; for back-fills and batch jobs.")
    ] = Priority.INTERACTIVE,
) -> None:  # fmt: skip
    """Describes the headers that `RequestLifetime` acts on, and refuses invalid values."""


def encode_vector(vector: Vector, encoding: Encoding) -> list[float] | str:
    """Returns a vector as numbers, or as base64 of its little-endian float32 bytes."""
    if encoding == "base64":
        return vector_to_base64(vector)
    return [float(value) for value in vector]
