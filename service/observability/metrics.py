"""`Metrics`: what Prometheus reads from `/metrics`. One registry an application, so that tests may run several."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from service.observability.tracing import part

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_INDEX_LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_NOTES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
INDEX_OPERATIONS = ("get", "upsert", "search", "delete", "count", "scroll", "describe", "restore", "bury")
LIMITS = ("requests", "tokens")


class Metrics:
    """The service's metrics, named `notellm_…`, beside those of the process and of Python."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter("notellm_http_requests", "Requests.", ["method", "route", "status"], registry=registry)
        self.request_seconds = Histogram(
            "notellm_http_request_seconds",
            "From the first byte in to the last out.",
            ["method", "route"],
            registry=registry,
            buckets=_LATENCY,
        )
        self.in_flight = Gauge("notellm_http_requests_in_flight", "Requests being answered.", registry=registry)
        self.queue_seconds = Histogram(
            "notellm_queue_seconds",
            "Wait of a note until its forward pass starts.",
            ["queue"],
            registry=registry,
            buckets=_LATENCY,
        )
        self.queue_tokens = Gauge("notellm_queue_tokens", "Tokens waiting.", ["queue"], registry=registry)
        self.queue_max_tokens = Gauge("notellm_queue_max_tokens", "Tokens that may wait.", ["queue"], registry=registry)
        self.queue_refused = Counter(
            "notellm_queue_refused", "Requests refused because the queue was full.", ["queue"], registry=registry
        )
        self.queue_dropped = Counter(
            "notellm_queue_dropped",
            "Notes that left the queue unread: deadline, or the client left.",
            ["queue"],
            registry=registry,
        )
        self.batch_notes = Histogram("notellm_batch_notes", "Notes of a batch.", ["queue"], registry=registry, buckets=_NOTES)
        self.batch_tokens = Histogram(
            "notellm_batch_tokens", "Tokens of a batch.", ["queue"], registry=registry, buckets=_TOKENS
        )
        self.batch_seconds = Histogram(
            "notellm_batch_seconds", "Run time of a batch.", ["queue"], registry=registry, buckets=_LATENCY
        )
        self.batch_failures = Counter(
            "notellm_batch_failures", "Notes on which the model failed.", ["queue"], registry=registry
        )
        # Of all models that this process has run: that of the one which answers would fall back, and rise, with each switch.
        self.engine_restarts = Counter(
            "notellm_engine_restarts", "Times that an engine was started again, failed tries included.", registry=registry
        )
        self.notes = Counter("notellm_notes", "Notes of embed requests by what became of them.", ["status"], registry=registry)
        self.truncations = Counter("notellm_truncations", "Fields that were too long.", ["field"], registry=registry)
        self.index_seconds = Histogram(
            "notellm_index_seconds",
            "Time of an index operation.",
            ["operation"],
            registry=registry,
            buckets=_INDEX_LATENCY,
        )
        self.index_errors = Counter("notellm_index_errors", "Index operations that failed.", ["operation"], registry=registry)
        self.index_notes = Gauge("notellm_index_notes", "Stored notes when they were last counted.", registry=registry)
        self.rate_limited = Counter(
            "notellm_rate_limited", "Requests of clients that asked for more than they may.", ["limit"], registry=registry
        )
        self.api_keys = Gauge("notellm_api_keys", "API keys that are accepted.", registry=registry)
        self.api_keys_stale = Gauge(
            "notellm_api_keys_stale", "1 while the key file cannot be read and the keys from before stay.", registry=registry
        )
        self.model = Info("notellm_model", "What is served.", registry=registry)
        for operation in INDEX_OPERATIONS:
            self.index_seconds.labels(operation)
            self.index_errors.labels(operation)
        for limit in LIMITS:
            self.rate_limited.labels(limit)

    def add_queue(self, queue: str, max_tokens: int) -> None:
        """Lets what is counted of a queue begin at 0: Prometheus sees no increase in a counter that appears with a value."""
        self.queue_tokens.labels(queue)
        self.queue_max_tokens.labels(queue).inc(max_tokens)  # as the tokens that wait: during a migration two have this name
        for counter in (self.queue_refused, self.queue_dropped, self.batch_failures):
            counter.labels(queue)
        for histogram in (self.queue_seconds, self.batch_notes, self.batch_tokens, self.batch_seconds):
            histogram.labels(queue)

    def remove_queue(self, queue: str, max_tokens: int) -> None:
        """Takes a queue's share back when it is closed. What was counted stays."""
        self.queue_max_tokens.labels(queue).dec(max_tokens)

    @contextmanager
    def index_operation(self, operation: str) -> Iterator[None]:
        """Times an index operation, counts it if it fails, and makes it a part of the request's trace."""
        start = time.perf_counter()
        try:
            with part(f"index {operation}"):
                yield
        except Exception:
            self.index_errors.labels(operation).inc()
            raise
        finally:
            self.index_seconds.labels(operation).observe(time.perf_counter() - start)
