"""`Metrics`: what Prometheus reads from `/metrics`. Each application has its own registry, so that tests can run several."""

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
INDEX_OPERATIONS = ("get", "upsert", "search", "delete", "count", "scroll", "describe", "restore", "bury", "hashtags")
LIMITS = ("requests", "tokens")


class Metrics:
    """The service's metrics, named `notellm_…`, together with those of the process and of Python."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter(
            "notellm_http_requests", "HTTP requests, by status of the answer.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "notellm_http_request_seconds",
            "Time from the first byte of a request to the last byte of its answer.",
            ["method", "route"],
            registry=registry,
            buckets=_LATENCY,
        )
        self.in_flight = Gauge("notellm_http_requests_in_flight", "Requests that are being answered now.", registry=registry)
        self.queue_seconds = Histogram(
            "notellm_queue_seconds",
            "Time that a note waits until its forward pass starts.",
            ["queue"],
            registry=registry,
            buckets=_LATENCY,
        )
        self.queue_tokens = Gauge("notellm_queue_tokens", "Tokens that wait in the queue.", ["queue"], registry=registry)
        self.queue_max_tokens = Gauge(
            "notellm_queue_max_tokens", "Limit of tokens that may wait in the queue.", ["queue"], registry=registry
        )
        self.queue_refused = Counter(
            "notellm_queue_refused",
            "Requests refused because the queue was full or could not finish them in time.",
            ["queue"],
            registry=registry,
        )
        self.queue_dropped = Counter(
            "notellm_queue_dropped",
            "Notes that left the queue without being computed: their deadline passed, or the client disconnected.",
            ["queue"],
            registry=registry,
        )
        self.batch_notes = Histogram("notellm_batch_notes", "Notes per batch.", ["queue"], registry=registry, buckets=_NOTES)
        self.batch_tokens = Histogram(
            "notellm_batch_tokens", "Tokens per batch.", ["queue"], registry=registry, buckets=_TOKENS
        )
        self.batch_seconds = Histogram(
            "notellm_batch_seconds", "Run time of a batch.", ["queue"], registry=registry, buckets=_LATENCY
        )
        self.batch_failures = Counter(
            "notellm_batch_failures", "Notes on which the model failed.", ["queue"], registry=registry
        )
        # Counts the restarts of all models that this process has run. A counter of the answering model alone would go down and up
        # with each switch.
        self.engine_restarts = Counter(
            "notellm_engine_restarts", "Restarts of an engine, failed attempts included.", registry=registry
        )
        self.notes = Counter("notellm_notes", "Notes of embed requests, by result.", ["status"], registry=registry)
        self.truncations = Counter(
            "notellm_truncations", "Fields that were truncated because they were too long.", ["field"], registry=registry
        )
        self.index_seconds = Histogram(
            "notellm_index_seconds",
            "Duration of an index operation.",
            ["operation"],
            registry=registry,
            buckets=_INDEX_LATENCY,
        )
        self.index_errors = Counter("notellm_index_errors", "Index operations that failed.", ["operation"], registry=registry)
        self.index_notes = Gauge(
            "notellm_index_notes",
            "Stored notes when they were last counted; on a Qdrant server an estimate above a million.",
            registry=registry,
        )
        self.rate_limited = Counter(
            "notellm_rate_limited", "Requests refused because the client was over a rate limit.", ["limit"], registry=registry
        )
        self.api_keys = Gauge("notellm_api_keys", "API keys that are accepted.", registry=registry)
        self.api_keys_stale = Gauge(
            "notellm_api_keys_stale",
            "1 while the key file is unreadable or invalid and the previous keys stay in use.",
            registry=registry,
        )
        self.model = Info("notellm_model", "The model that is served.", registry=registry)
        for operation in INDEX_OPERATIONS:
            self.index_seconds.labels(operation)
            self.index_errors.labels(operation)
        for limit in LIMITS:
            self.rate_limited.labels(limit)

    def add_queue(self, queue: str, max_tokens: int) -> None:
        """Adds a queue with counters at 0: Prometheus does not see an increase in a counter that appears with a value."""
        self.queue_tokens.labels(queue)
        # Added, not set: during a migration two queues have this name, and the waiting tokens are a sum over both, too.
        self.queue_max_tokens.labels(queue).inc(max_tokens)
        for counter in (self.queue_refused, self.queue_dropped, self.batch_failures):
            counter.labels(queue)
        for histogram in (self.queue_seconds, self.batch_notes, self.batch_tokens, self.batch_seconds):
            histogram.labels(queue)

    def remove_queue(self, queue: str, max_tokens: int) -> None:
        """Subtracts the limit of a closed queue. Its counters stay."""
        self.queue_max_tokens.labels(queue).dec(max_tokens)

    @contextmanager
    def index_operation(self, operation: str) -> Iterator[None]:
        """Times an index operation, counts it if it fails, and adds it to the request's trace."""
        start = time.perf_counter()
        try:
            with part(f"index {operation}"):
                yield
        except Exception:
            self.index_errors.labels(operation).inc()
            raise
        finally:
            self.index_seconds.labels(operation).observe(time.perf_counter() - start)
