"""Error documents as defined by RFC 9457."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

MOST_MESSAGE_CHARS = 300


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


class Problem(BaseModel):
    """An error document as defined by RFC 9457. `type` is stable: let programs check it rather than `detail`."""

    type: str = Field(examples=["urn:notellm:problem:invalid-request"])
    title: str = Field(examples=["The request breaks a rule"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["notes[3].title: String should have at most 2000 characters"])
    request_id: str | None = Field(default=None, description="Also in the `X-Request-Id` header and in the logs.")
    errors: list[FieldError] = Field(default_factory=list)


def problem(
    status: int, kind: str, title: str, detail: str, *, request_id: str | None = None, errors: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """Returns a problem document. `kind` becomes the last part of its `type`."""
    document = Problem(
        type=f"urn:notellm:problem:{kind}",
        title=title,
        status=int(status),
        detail=detail,
        request_id=request_id,
        errors=list(errors),
    )
    return document.model_dump(exclude_none=True)
