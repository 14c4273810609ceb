"""What can go wrong between a client and the service.

ClientError
├── Unreachable              nothing answers at the address
├── NotTheService            something else answers there
├── DeadlineMissed           no answer within the time that the caller allows
└── ServiceProblem           the service refuses; one class per `type` of docs/api.md
    ├── BadRequest           the caller must change the request
    │   ├── InvalidRequest, UnreadableBody, UnsupportedEncoding, HeadTooLarge, BodyTooLarge, PathNotFound, MethodNotAllowed
    │   └── NoteNotFound, ModelNotFound, MigrationConflict
    ├── NotAllowed           Unauthenticated, Forbidden
    ├── Failed               ModelFailed, Unexpected, DeadlineExceeded, StorageFull
    └── Busy                 QueueFull, RateLimited, EngineUnavailable, IndexUnavailable, ShuttingDown

A client repeats a call after `Busy` by itself. It raises `Busy` only if the caller's time does not allow another try.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from notellm.errors import NoteLLMError

# Texts of `POST /v1/embeddings` are its `input`.
_PLACE = re.compile(r"(notes|input)\[(\d+)\]")


class ClientError(NoteLLMError):
    """Base of everything that a client raises."""


class Unreachable(ClientError):
    """Nothing answers at the address."""


class NotTheService(ClientError):
    """Something else answers at the address: trying again would not help."""


class DeadlineMissed(ClientError):
    """No answer came within the time that the caller allows. If notes were to be stored, some may be."""


class BrokenRule(BaseModel):
    """One rule that a request breaks.

    Attributes:
        field: place in the request, such as `notes[3].title`.
        rule: stable name of the rule.
        message: what the rule requires.
    """

    field: str
    rule: str = ""
    message: str = ""


class ServiceProblem(ClientError):
    """The service refuses a request (RFC 9457).

    Attributes:
        kind: the last part of the problem's `type`.
        by_kind: the class of each kind.
        status: HTTP status.
        detail: what is wrong and what to do.
        errors: the rules that the request breaks. Numbers of notes count in the caller's list, not in the part that was sent.
        request_id: the name of the request in the service's log.
        retry_after: seconds after which to try again, if the service says so.
    """

    kind: ClassVar[str] = ""
    by_kind: ClassVar[dict[str, type["ServiceProblem"]]] = {}

    def __init_subclass__(cls) -> None:
        if cls.kind:
            cls.by_kind[cls.kind] = cls

    def __init__(
        self, status: int, detail: str, *, errors: Sequence[BrokenRule] = (), request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(f"the service answers {status}: {detail}")
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.request_id = request_id
        self.retry_after = retry_after

    @property
    def reasons(self) -> dict[int, str]:
        """What is wrong with each note, by its number; only the notes that `errors` names."""
        reasons: dict[int, str] = {}
        for error in self.errors:
            if place := _PLACE.match(error.field):
                field = error.field[place.end() :].lstrip(".")
                reasons.setdefault(int(place[2]), f"{field}: {error.message}" if field else error.message)
        return reasons

    @property
    def too_many(self) -> bool:
        """Whether the notes together are too many or too large, so that the service may accept fewer of them."""
        return bool(self.errors) and {error.field for error in self.errors} <= {"notes", "input", "body"}

    def place(self, places: Sequence[int]) -> None:
        """Renumbers the notes in `errors`, from the part that was sent to the caller's list: note `i` is number `places[i]` there."""
        self.errors = [
            error.model_copy(
                update={"field": _PLACE.sub(lambda found: f"{found[1]}[{places[int(found[2])]}]", error.field, count=1)}
            )
            for error in self.errors
        ]


class BadRequest(ServiceProblem):
    """The caller must change the request."""


class InvalidRequest(BadRequest):
    """A field breaks a rule; `errors` names each."""

    kind = "invalid-request"


class UnreadableBody(BadRequest):
    """The body is not JSON in UTF-8."""

    kind = "unreadable-body"


class UnsupportedEncoding(BadRequest):
    """The body is packed in a way that the service does not know."""

    kind = "unsupported-encoding"


class HeadTooLarge(BadRequest):
    """The request's line and headers are too long."""

    kind = "head-too-large"


class BodyTooLarge(BadRequest):
    """The body has more bytes than the service allows."""

    kind = "body-too-large"

    @property
    def too_many(self) -> bool:
        """Always: fewer notes have fewer bytes."""
        return True


class PathNotFound(BadRequest):
    """There is no such path: is this an older service, or another one?"""

    kind = "not-found"


class MethodNotAllowed(BadRequest):
    """The path exists, but not for this method."""

    kind = "method-not-allowed"


class NoteNotFound(BadRequest):
    """There is no note with this id."""

    kind = "note-not-found"


class ModelNotFound(BadRequest):
    """No model of that name is served."""

    kind = "model-not-found"


class MigrationConflict(BadRequest):
    """The migration is not in the state that the call needs."""

    kind = "migration-conflict"


class NotAllowed(ServiceProblem):
    """The service wants another API key."""


class Unauthenticated(NotAllowed):
    """The request has no API key, or an unknown one."""

    kind = "unauthenticated"


class Forbidden(NotAllowed):
    """The key does not have the scope that the call needs; `detail` names it."""

    kind = "forbidden"


class Failed(ServiceProblem):
    """The service failed on this request, and the same request would probably fail again."""


class ModelFailed(Failed):
    """The model failed on a note of this request."""

    kind = "model-failed"


class Unexpected(Failed):
    """A defect of the service; its log has the traceback under `request_id`."""

    kind = "unexpected"


class DeadlineExceeded(Failed):
    """The service could not answer in time. If notes were to be stored, some may be."""

    kind = "deadline-exceeded"


class StorageFull(Failed):
    """The disk of the embedded index is nearly full. Nothing was written; reads still work."""

    kind = "storage-full"


class Busy(ServiceProblem):
    """The same request may be answered later."""


class QueueFull(Busy):
    """Too much work is waiting."""

    kind = "queue-full"


class RateLimited(Busy):
    """The caller is over its rate limit."""

    kind = "rate-limited"


class EngineUnavailable(Busy):
    """The engine that runs the model is not available."""

    kind = "engine-unavailable"


class IndexUnavailable(Busy):
    """The vector index is not available."""

    kind = "index-unavailable"


class ShuttingDown(Busy):
    """This replica is shutting down; another one may answer."""

    kind = "shutting-down"
