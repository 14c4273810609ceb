"""Metrics, logs, traces and health checks: everything that an operator can see."""

from service.observability.health import ForwardHealth, Liveness
from service.observability.logs import configure_logging
from service.observability.metrics import Metrics
from service.observability.readiness import Readiness
from service.observability.requests import CLIENT_LEFT, METHODS, OPERATIONS, request_id
from service.observability.trace_export import open_tracing

__all__ = [
    "CLIENT_LEFT",
    "METHODS",
    "OPERATIONS",
    "ForwardHealth",
    "Liveness",
    "Metrics",
    "Readiness",
    "configure_logging",
    "open_tracing",
    "request_id",
]
