"""Names that logs, metrics and traces share: the request's id, routes for operators, the status of an abandoned request."""

from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
# Routes that machines ask all the time: logged at DEBUG only, and still answered during shutdown.
OPERATIONS = ("/health/live", "/health/ready", "/metrics")
# nginx's status for a client that disconnects before it is answered.
CLIENT_LEFT = 499
METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"})
