"""What logs, metrics and traces say of a request: its id, its kind, and how it ended."""

from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
# Asked all the time by machines: logged at DEBUG, and answered until the end.
OPERATIONS = ("/health/live", "/health/ready", "/metrics")
# As nginx counts it: the client did not wait for the answer.
CLIENT_LEFT = 499
METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"})
