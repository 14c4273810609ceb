"""Tracing of requests: the open span, and the spans that are added under it. Nothing is traced unless tracing is on, as here.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 notellm-serve

This module needs no OpenTelemetry. `service.observability.spans` does; `open_tracing` imports it if tracing is on.
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
    """The outcome of a request; `status` is set when the response starts."""

    status: int = CLIENT_LEFT


class RequestTracing(Protocol):
    """Makes the spans of requests."""

    def request(self, scope: Scope) -> AbstractContextManager[Answer]:
        """Opens the span of a request for the length of a `with` block, under the caller's span if there is one."""
        ...


class OpenSpan(Protocol):
    """A recorded span of a request, or of a part of one, that has not ended."""

    def part(self, name: str, facts: Mapping[str, int]) -> AbstractContextManager[None]:
        """Opens a new span under this one for the length of a `with` block. Inside the block, the new span is the open span."""
        ...

    def batch(self, queue: str, notes: Mapping[Self, int], tokens: int) -> AbstractContextManager[None]:
        """See `batch` below; `notes` says how many notes of the batch were queued under each span; this span is one of them."""
        ...


# For log lines. It is set even if the trace is not sampled here, because other services may record their part of it.
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
# The parent of new spans; None if nothing is recorded.
open_span: ContextVar[OpenSpan | None] = ContextVar("open_span", default=None)


def part(name: str, **facts: int) -> AbstractContextManager[None]:
    """Opens a span for a part of the request, for the length of a `with` block, with the facts as its attributes."""
    span = open_span.get()
    return nullcontext() if span is None else span.part(name, facts)


def batch(queue: str, spans: Iterable[OpenSpan | None], tokens: int) -> AbstractContextManager[None]:
    """Opens the spans of a batch for the length of a `with` block: one for the batch and, in each request, one for the forward pass.

    It also adds to each request a span for the time in the queue.

    Args:
        queue: the name of the queue.
        spans: for each note in the batch, the span that was open when the note was queued.
        tokens: number of tokens of all notes.
    """
    notes = Counter(span for span in spans if span is not None)
    return next(iter(notes)).batch(queue, notes, tokens) if notes else nullcontext()
