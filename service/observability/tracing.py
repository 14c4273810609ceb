"""What is traced of a request: the span that is open, and the parts that are added under it. Nothing unless tracing is on.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 notellm-serve

This module needs no OpenTelemetry. `service.observability.spans` does; `open_tracing` imports it where traces are asked for.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, Self

from starlette.types import Scope

from service.observability.requests import CLIENT_LEFT


@dataclass
class Answer:
    """What became of a request."""

    status: int = CLIENT_LEFT


class RequestTracing(Protocol):
    """Makes the spans of requests."""

    def request(self, scope: Scope) -> AbstractContextManager[Answer]:
        """The span of a request, for the length of a `with` block: under that of the caller, if there is one."""
        ...


class OpenSpan(Protocol):
    """A span that is recorded and has not ended: of a request, or of a part of one."""

    def part(self, name: str, facts: Mapping[str, int]) -> AbstractContextManager[None]:
        """A new span under it, for the length of a `with` block, in which it is the open one."""
        ...

    def batch(self, queue: str, notes: Mapping[Self, int], tokens: int) -> AbstractContextManager[None]:
        """See `batch` below; `notes` says how many notes of the batch were queued under each span, this one among them."""
        ...


# For log lines: whether or not the trace is sampled, others may have their part of it.
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
# Under which others are made; None where nothing is recorded.
open_span: ContextVar[OpenSpan | None] = ContextVar("open_span", default=None)


def part(name: str, **facts: int) -> AbstractContextManager[None]:
    """A part of the request: a span for the length of a `with` block, with the facts as its attributes."""
    span = open_span.get()
    return nullcontext() if span is None else span.part(name, facts)


def batch(queue: str, spans: Iterable[OpenSpan | None], tokens: int) -> AbstractContextManager[None]:
    """A batch, for the length of a `with` block: a span of its own, and in each request one for the wait and one for the pass.

    Args:
        queue: its name.
        spans: for each note of the batch the one that was open when the note was queued.
        tokens: of all notes.
    """
    notes = Counter(span for span in spans if span is not None)
    return next(iter(notes)).batch(queue, notes, tokens) if notes else nullcontext()
