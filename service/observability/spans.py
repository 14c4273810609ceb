"""Spans for requests, their parts and batches, with OpenTelemetry.

Spans hold names, counts and kinds of errors, but never data from clients. Exceptions are not recorded, because their messages may quote
such data.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from service.observability.requests import METHODS
from service.observability.tracing import Answer, open_span, trace_id

# How long the process may wait for the collector when it ends.
FLUSH_SECONDS = 3
_HEADERS = ("traceparent", "tracestate")
logger = logging.getLogger(__name__)


def exporter() -> SpanProcessor:
    """Returns a processor that sends spans from its own thread, as OpenTelemetry's variables say. Spans that it cannot send are lost."""
    return BatchSpanProcessor(OTLPSpanExporter())


class Tracing:
    """Makes spans.

    Args:
        processor: receives the spans that have ended.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor
        self._context = TraceContextTextMapPropagator()
        own = Resource({"service.name": "notellm", "service.version": version("notellm")})
        resource = Resource.create().merge(own).merge(OTELResourceDetector().detect())
        # OTEL_TRACES_SAMPLER decides which requests are recorded. A batch is recorded if one of its requests is.
        requests = TracerProvider(resource=resource, shutdown_on_exit=False)
        batches = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        for provider in (requests, batches):
            provider.add_span_processor(processor)
        self.requests = requests.get_tracer("notellm")
        self._batches = batches.get_tracer("notellm")

    @contextmanager
    def request(self, scope: Scope) -> Iterator[Answer]:
        """See `RequestTracing.request`."""
        span, answer = self._arrived(scope), Answer()
        traced = trace_id.set(format_trace_id(span.get_span_context().trace_id))
        opened = open_span.set(RecordedSpan(self, span) if span.is_recording() else None)
        try:
            with _ending(span):
                try:
                    yield answer
                finally:
                    _describe(span, scope, answer.status)
        finally:
            open_span.reset(opened)
            trace_id.reset(traced)

    def _arrived(self, scope: Scope) -> Span:
        sent = {name: [value.decode("latin-1") for key, value in scope["headers"] if key == name.encode()] for name in _HEADERS}
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        return self.requests.start_span(
            method, self._context.extract(sent), kind=SpanKind.SERVER, attributes={"http.request.method": method}
        )

    @contextmanager
    def batch(self, queue: str, notes: Mapping["RecordedSpan", int], tokens: int) -> Iterator[None]:
        """See `service.observability.tracing.batch`; `notes` says how many notes of the batch were queued under each span."""
        now = time.time_ns()
        whole = self._batches.start_span(
            f"batch {queue}", Context(), links=[span.link for span in notes], start_time=now,
            attributes=_attributes({"notes": sum(notes.values()), "tokens": tokens}),
        )  # fmt: skip
        link, passes = Link(whole.get_span_context()), []
        for span, count in notes.items():
            span.child("wait", {"notes": count}, start=span.began).end(now)
            passes.append(span.child("forward", {"notes": count}, start=now, links=[link]))
        with _ending(*passes, whole):
            yield

    async def close(self) -> None:
        """Sends the remaining spans. Gives up if the collector does not answer, because the process must end."""
        # A daemon thread does not keep the process alive: without an answer, the exporter keeps trying for half a minute.
        sending = threading.Thread(target=self._processor.shutdown, name="last-spans", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, FLUSH_SECONDS)
        if sending.is_alive():
            logger.warning("the collector of traces did not accept the last spans in time: they are lost")


class RecordedSpan:
    """See `service.observability.tracing.OpenSpan`.

    Attributes:
        tracing: makes the spans under this one.
        began: start of this span, in nanoseconds since 1970.
    """

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self.tracing = tracing
        self.began = time.time_ns()
        self._span = span

    @property
    def link(self) -> Link:
        """A reference to this span, for use in another trace."""
        return Link(self._span.get_span_context())

    def child(self, name: str, facts: Mapping[str, int], *, start: int | None = None, links: Sequence[Link] = ()) -> Span:
        """Starts a new span under this one."""
        context = set_span_in_context(self._span, Context())
        return self.tracing.requests.start_span(name, context, attributes=_attributes(facts), links=links, start_time=start)

    @contextmanager
    def part(self, name: str, facts: Mapping[str, int]) -> Iterator[None]:
        """See `OpenSpan.part`."""
        span = self.child(name, facts)
        reset = open_span.set(RecordedSpan(self.tracing, span))
        try:
            with _ending(span):
                yield
        finally:
            open_span.reset(reset)

    def batch(self, queue: str, notes: Mapping["RecordedSpan", int], tokens: int) -> AbstractContextManager[None]:
        """See `OpenSpan.batch`."""
        return self.tracing.batch(queue, notes, tokens)


def _describe(span: Span, scope: Scope, status: int) -> None:
    """Adds the outcome of a request to its span. It uses the route's template, not the URL, which may contain ids of notes."""
    span.set_attribute("http.response.status_code", status)
    if route := getattr(scope.get("route"), "path_format", None):
        span.set_attribute("http.route", route)
        if scope["method"] in METHODS:
            span.update_name(f"{scope['method']} {route}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _fail(span, str(status))


@contextmanager
def _ending(*spans: Span) -> Iterator[None]:
    """Ends spans at the end of a `with` block. If an error ends the block, the spans get the type of the error."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            _fail(span, type(error).__name__)
        raise
    finally:
        for span in spans:
            span.end()


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def _attributes(facts: Mapping[str, int]) -> dict[str, int]:
    return {f"notellm.{name}": value for name, value in facts.items()}
