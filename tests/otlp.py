"""A collector of traces that receives OTLP over HTTP, and a view of spans that is the same before and after they are sent."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import ReadableSpan

# The id of a caller's span, and ids of traces that it may have started.
CALLER = "00f067aa0ba902b7"
TRACES = [digit * 32 for digit in "abc"]


def under(trace: str, *, sampled: bool = True) -> dict[str, str]:
    """Returns the header of a caller that traces its requests."""
    return {"traceparent": f"00-{trace}-{CALLER}-0{sampled:d}"}


@dataclass(frozen=True)
class Seen:
    """A span: ids in hexadecimal, times in nanoseconds, links as pairs of a trace id and a span id."""

    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    failed: bool
    facts: dict[str, Any]
    links: frozenset[tuple[str, str]]

    @classmethod
    def recorded(cls, span: ReadableSpan) -> "Seen":
        """Reads a span as OpenTelemetry keeps it in memory."""
        own = span.get_span_context()
        assert own is not None
        return cls(
            span.name, f"{own.trace_id:032x}", f"{own.span_id:016x}", f"{span.parent.span_id:016x}" if span.parent else "",
            span.start_time or 0, span.end_time or 0, not span.status.is_ok, dict(span.attributes or {}),
            frozenset((f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links),
        )  # fmt: skip

    @classmethod
    def sent(cls, span: Span) -> "Seen":
        """Reads a span as a collector receives it."""
        facts = {fact.key: getattr(fact.value, fact.value.WhichOneof("value") or "") for fact in span.attributes}
        return cls(
            span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.start_time_unix_nano,
            span.end_time_unix_nano, span.status.code == Status.STATUS_CODE_ERROR, facts,
            frozenset((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        )  # fmt: skip


def named(spans: Iterable[Seen], name: str) -> Seen:
    """Returns the only span with a name."""
    (found,) = [span for span in spans if span.name == name]
    return found


def tree(spans: Iterable[Seen], root: Seen) -> Any:
    """Returns the names of a span and its children, in the order of their start: a name, or a pair of a name and its children."""
    spans = list(spans)
    below = sorted((span for span in spans if span.parent == root.id and span.trace == root.trace), key=lambda span: span.start)
    return (root.name, [tree(spans, span) for span in below]) if below else root.name


@dataclass
class Collector:
    """The address to which to send spans, and the spans that have arrived; `asked` is set when a request has come."""

    url: str
    asked: threading.Event = field(default_factory=threading.Event)
    spans: list[Seen] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            named = {fact.key: fact.value.string_value for fact in resource.resource.attributes}
            self.services.add(named["service.name"])
            self.spans += [Seen.sent(span) for scope in resource.scope_spans for span in scope.spans]


@contextmanager
def running_collector(*, silent: bool = False) -> Iterator[Collector]:
    """Runs a collector for the duration of a `with` block. A silent one reads requests and does not answer."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.asked.set()
            if silent:
                over.wait()
                return
            assert self.path == "/v1/traces"
            collector.take(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield collector
        finally:
            over.set()
            server.shutdown()
            serving.join()
