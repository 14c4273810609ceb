"""What is traced of a request: the span that is open, and the parts that are added under it. Nothing unless tracing is on.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 notellm-serve

`service.spans` makes the spans, by OpenTelemetry, and is imported only where OpenTelemetry's own variables ask for traces.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.errors import StartupError

if TYPE_CHECKING:
    from service.spans import OpenSpan, Tracing

# For log lines: whether or not the trace is sampled, others may have their part of it.
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
# Under which others are made; None where nothing is recorded.
open_span: ContextVar["OpenSpan | None"] = ContextVar("open_span", default=None)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SAMPLERS = {prefix + name for prefix in ("", "parentbased_") for name in ("always_on", "always_off", "traceidratio")}


def part(name: str, **facts: int) -> AbstractContextManager[None]:
    """A part of the request: a span for the length of a `with` block, with the facts as its attributes."""
    span = open_span.get()
    return nullcontext() if span is None else span.part(name, facts)


def batch(queue: str, spans: Iterable["OpenSpan | None"], tokens: int) -> AbstractContextManager[None]:
    """A batch, for the length of a `with` block: a span of its own, and in each request one for the wait and one for the pass.

    Args:
        queue: its name.
        spans: for each note of the batch the one that was open when the note was queued.
        tokens: of all notes.
    """
    notes = Counter(span for span in spans if span is not None)
    return next(iter(notes)).tracing.batch(queue, notes, tokens) if notes else nullcontext()


@asynccontextmanager
async def open_tracing() -> AsyncIterator["Tracing | None"]:
    """What makes the spans of this process, if its environment asks for traces; on leaving, spans that are left are sent.

    Raises:
        StartupError: the environment asks for what there is not.
    """
    if not _asked_for():
        yield None
        return
    _check()
    try:
        from service.spans import Tracing, exporter
    except ModuleNotFoundError as error:
        raise StartupError(
            f"{_first(_ENDPOINTS)[0]} is set and {error.name} is not installed: pip install 'notellm[tracing]', or set "
            "OTEL_TRACES_EXPORTER=none"
        ) from error
    try:
        tracing = Tracing(exporter())
    except ValueError as error:
        raise StartupError(f"an OTEL_ variable is wrong: {error}") from error
    try:
        yield tracing
    finally:
        await tracing.close()


def _asked_for() -> bool:
    off = _value("OTEL_SDK_DISABLED").lower() == "true" or _value("OTEL_TRACES_EXPORTER") == "none"
    return not off and bool(_first(_ENDPOINTS)[1])


def _check() -> None:
    """Raises `StartupError` where OpenTelemetry would go on with something else, or lose every span."""
    name, endpoint = _first(_ENDPOINTS)
    if urlsplit(endpoint).scheme not in {"http", "https"}:
        raise StartupError(
            f"{name}: must begin with http:// or https://; spans are sent by OTLP over HTTP, usually to port 4318"
        )
    wanted = {
        "OTEL_TRACES_EXPORTER": {"otlp"},
        _first(_PROTOCOLS)[0]: {"http/protobuf"},
        "OTEL_TRACES_SAMPLER": _SAMPLERS,
    }
    for variable, known in wanted.items():
        if (value := _value(variable)) and value not in known:
            raise StartupError(f"{variable}: {value} is not known here; known: {', '.join(sorted(known))}")


def _first(names: tuple[str, str]) -> tuple[str, str]:
    """The one that counts, with its value: the first that is set."""
    return next(((name, _value(name)) for name in names if _value(name)), (names[-1], ""))


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()
