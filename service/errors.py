"""Every error that a client can see; clients get it as `application/problem+json` (RFC 9457).

ServiceError
├── InvalidRequest
├── UnreadableBody
├── BodyTooLarge
├── UnsupportedEncoding
├── HeadTooLarge
├── Unauthenticated
├── Forbidden
├── NoteNotFound
├── ModelNotFound
├── MigrationConflict
├── ModelFailed
├── Unexpected
├── DeadlineExceeded
├── ShuttingDown
├── StorageFull
└── RetryLater
    ├── QueueFull
    ├── RateLimited
    └── Unavailable
        ├── EngineUnavailable
        └── IndexUnavailable

The docstring of each class is also its description in OpenAPI, so it speaks to clients.

StartupError is for the operator: the process does not start, and the message says what to change.
CommandError is for the user of a command such as `notellm-serve ingest`: the command stops, and the message says why and how to
continue.
"""

import inspect
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, Field

# What a client sent may be quoted, and must not make an answer large. A detail names up to three fields.
MOST_MESSAGE_CHARS = 300
MOST_DETAIL_CHARS = 2000


class StartupError(Exception):
    """The service cannot start with its configuration; the message says what to change."""


class CommandError(Exception):
    """A command cannot continue; the message says why and what to do."""


def shortened(text: str, most: int) -> str:
    """The text with its middle cut out if it is longer than `most`: what a client sent is at the start, and the advice at the end."""
    half = most // 2 - 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"


class FieldError(BaseModel):
    """One broken rule."""

    field: str = Field(
        description="Path of the field in the request: `notes[3].title`, `query.limit`.", examples=["notes[3].title"]
    )
    rule: str = Field(description="Stable name of the rule.", examples=["string_too_long"])
    message: Annotated[str, AfterValidator(lambda text: shortened(text, MOST_MESSAGE_CHARS))] = Field(
        description="What the rule requires.", examples=["String should have at most 2000 characters"]
    )


class ServiceError(Exception):
    """Base of the errors above."""

    status: ClassVar[HTTPStatus]
    kind: ClassVar[str]
    title: ClassVar[str]

    @classmethod
    def description(cls) -> str:
        """The text for OpenAPI: the first paragraph of the class's docstring."""
        return (inspect.getdoc(cls) or "").split("\n\n", 1)[0]

    def __init__(self, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = shortened(detail, MOST_DETAIL_CHARS)
        self.errors = list(errors)

    @property
    def headers(self) -> dict[str, str]:
        """Response headers of this error."""
        return {}


class InvalidRequest(ServiceError):
    """A field breaks a rule; `errors` names each."""

    status, kind, title = HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request breaks a rule"

    @classmethod
    def of(cls, field: str, rule: str, message: str) -> "InvalidRequest":
        """Returns the error for a single field."""
        return cls.listing([FieldError(field=field, rule=rule, message=message)])

    @classmethod
    def listing(cls, errors: Sequence[FieldError]) -> "InvalidRequest":
        """Returns the error for several fields; `detail` has the first three."""
        return cls("; ".join(f"{error.field}: {error.message}" for error in errors[:3]), errors)


class UnreadableBody(ServiceError):
    """The body is not JSON in UTF-8, or it is damaged gzip."""

    status, kind, title = HTTPStatus.BAD_REQUEST, "unreadable-body", "The body cannot be read"


class BodyTooLarge(ServiceError):
    """The body has more bytes than the limit."""

    status, kind, title = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", "The body is over the limit"


class UnsupportedEncoding(ServiceError):
    """The body is packed in a way that the service does not know; gzip is known."""

    status, kind, title = (
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported-encoding",
        "The body's Content-Encoding is not supported",
    )

    @classmethod
    def of(cls, codings: str) -> "UnsupportedEncoding":
        """Returns the error for the value of `Content-Encoding`."""
        return cls(f"Content-Encoding: {codings[:100]}: send the body as it is, or packed once with gzip")

    @property
    def headers(self) -> dict[str, str]:
        """What is supported (RFC 9110, 12.5.3)."""
        return {"Accept-Encoding": "gzip"}


class Unauthenticated(ServiceError):
    """The request has no API key, or an unknown one.

    Args:
        detail: the message.
        shown: whether the request had a key.
    """

    status, kind, title = HTTPStatus.UNAUTHORIZED, "unauthenticated", "An API key is needed"

    def __init__(self, detail: str, *, shown: bool) -> None:
        super().__init__(detail)
        self.shown = shown

    @property
    def headers(self) -> dict[str, str]:
        """The challenge that RFC 6750 requires."""
        return {"WWW-Authenticate": 'Bearer realm="notellm"' + (', error="invalid_token"' if self.shown else "")}


class Forbidden(ServiceError):
    """The key does not have the scope that the call needs.

    Args:
        detail: the message.
        needed: the scope.
    """

    status, kind, title = HTTPStatus.FORBIDDEN, "forbidden", "The API key may not do this"

    def __init__(self, detail: str, needed: str) -> None:
        super().__init__(detail)
        self.needed = needed

    @property
    def headers(self) -> dict[str, str]:
        """The challenge that RFC 6750 requires."""
        return {"WWW-Authenticate": f'Bearer realm="notellm", error="insufficient_scope", scope="{self.needed}"'}


class HeadTooLarge(ServiceError):
    """The request's line and headers are longer than the limit."""

    status, kind, title = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "The request head is over the limit"


class NoteNotFound(ServiceError):
    """There is no note with this id."""

    status, kind, title = HTTPStatus.NOT_FOUND, "note-not-found", "There is no note with this id"


class ModelNotFound(ServiceError):
    """No model of that name is served."""

    status, kind, title = HTTPStatus.NOT_FOUND, "model-not-found", "No model of that name is served"

    @classmethod
    def of(cls, asked: str, served: str) -> "ModelNotFound":
        """Returns the error that names the model that is served. OpenAI's clients know the rule as `code`."""
        message = f"{served} is served, not {asked[:100]!r}"
        return cls(message, [FieldError(field="path.model", rule="model_not_found", message=message)])


class MigrationConflict(ServiceError):
    """The migration is not in the state that the call needs; `detail` says in which state it is."""

    status, kind, title = HTTPStatus.CONFLICT, "migration-conflict", "The migration is not in the state that the call needs"


class RetryLater(ServiceError):
    """The same request may be answered later; try again after `Retry-After` seconds."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After`: seconds after which to try again."""
        return {"Retry-After": str(self.retry_after)}


class QueueFull(RetryLater):
    """More tokens are waiting than the limit; try again after `Retry-After` seconds."""

    status, kind, title = HTTPStatus.TOO_MANY_REQUESTS, "queue-full", "Too much work is waiting"


class RateLimited(RetryLater):
    """The client is over its rate limit; try again after `Retry-After` seconds."""

    status, kind, title = HTTPStatus.TOO_MANY_REQUESTS, "rate-limited", "The client is over its rate limit"


class ModelFailed(ServiceError):
    """The model failed on this request; other requests are not affected."""

    status, kind, title = HTTPStatus.INTERNAL_SERVER_ERROR, "model-failed", "The model failed on this request"


class Unexpected(ServiceError):
    """An unexpected error; the log has the traceback under the request id."""

    status, kind, title = HTTPStatus.INTERNAL_SERVER_ERROR, "unexpected", "Unexpected error"


class DeadlineExceeded(ServiceError):
    """The deadline passed before the answer was ready."""

    status, kind, title = HTTPStatus.GATEWAY_TIMEOUT, "deadline-exceeded", "The request missed its deadline"


class ShuttingDown(ServiceError):
    """The service is shutting down."""

    status, kind, title = HTTPStatus.SERVICE_UNAVAILABLE, "shutting-down", "The service is shutting down"

    @property
    def headers(self) -> dict[str, str]:
        """Close the connection, so that the client's next try may reach another replica."""
        return {"Connection": "close", "Retry-After": "1"}


class Unavailable(RetryLater):
    """A part that the service needs is not available."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, retry_after: int = 5) -> None:
        super().__init__(detail, retry_after)


class EngineUnavailable(Unavailable):
    """The engine that runs the model has ended, is being started, or does not answer."""

    kind, title = "engine-unavailable", "The model's engine is not available"


class IndexUnavailable(Unavailable):
    """The vector index does not answer, or refuses."""

    kind, title = "index-unavailable", "The vector index is not available"


class StorageFull(ServiceError):
    """The disk of the embedded index is nearly full. Nothing was written; reads still work."""

    status, kind, title = HTTPStatus.INSUFFICIENT_STORAGE, "storage-full", "The disk of the index is full"
