"""Access control: the scope that each route needs, `Gate`, which checks the key before the body is read, and their OpenAPI text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Forbidden, RateLimited, ServiceError, Unauthenticated
from service.http.callers import client_address
from service.http.problems import describe_problems, problem_response
from service.observability import OPERATIONS
from service.security import ApiKey, KeyRing, RateLimits, Rates, Scope as KeyScope

OPEN = None
# A route that is missing here needs `admin`: a forgotten route is closed, not open.
ACCESS: Mapping[str, KeyScope | None] = {
    "/": OPEN,
    "/health/live": OPEN,
    "/health/ready": OPEN,
    "/docs": OPEN,
    "/docs/oauth2-redirect": OPEN,
    "/docs/{name}": OPEN,
    "/openapi.json": OPEN,
    "/playground/{name}": OPEN,  # a page without data: it asks for a key before it shows any
    "/metrics": KeyScope.METRICS,
    "/model": KeyScope.READ,
    "GET /notes/{note_id}": KeyScope.READ,
    "/notes/{note_id}/similar": KeyScope.READ,
    "/notes/similar": KeyScope.READ,
    "/notes/hashtags": KeyScope.READ,
    "/v1/embeddings": KeyScope.READ,
    "/v1/models": KeyScope.READ,
    "/v1/models/{model}": KeyScope.READ,
    "/notes/embed": KeyScope.WRITE,
    "DELETE /notes/{note_id}": KeyScope.WRITE,
}


def needed_scope(method: str, template: str) -> KeyScope | None:
    """Returns the scope that a route needs; None if anybody may call it."""
    by_path = ACCESS.get(template, KeyScope.ADMIN)
    return ACCESS.get(f"{method} {template}", by_path)


class HasKeys(Protocol):
    """An object that holds the current keys."""

    ring: KeyRing


@dataclass(frozen=True)
class Meter:
    """Charges a request's tokens to its client."""

    limits: RateLimits
    client: str
    rates: Rates

    def __call__(self, tokens: int) -> None:
        """Charges `tokens`; called when they are queued."""
        self.limits.spend(self.client, self.rates, tokens)


class Gate:
    """Answers 401, 403 or 429 before the body is read, and puts the client into `scope["state"]` for the code inside.

    Args:
        app: the application inside.
        keys: the current keys; None lets everybody do everything.
        limits: counts the requests and tokens of each client.
        rates: the rates for keys without own rates and, when there are no keys, for each client address.
    """

    def __init__(self, app: ASGIApp, keys: HasKeys | None, limits: RateLimits, rates: Rates) -> None:
        self._app = app
        self._keys = keys
        self._limits = limits
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "http":
            try:
                self._admit(scope)
            except ServiceError as error:
                await problem_response(error, scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        # Set first, so that metrics and logs name the route of a refused request.
        scope["route"] = route = _route(scope)
        template = getattr(route, "path_format", None)
        needed = needed_scope(scope["method"], template) if template else None
        if template and needed is OPEN:
            return
        key = self._key(scope, needed)
        client, rates = (key.name, self._rates_of(key)) if key else (client_address(scope), self._rates)
        if scope["path"] not in OPERATIONS:
            self._limits.admit(client, rates)
        scope.setdefault("state", {}).update(key=key.name if key else None, meter=Meter(self._limits, client, rates))

    def _key(self, scope: Scope, needed: KeyScope | None) -> ApiKey | None:
        """Finds the request's key; None if the service has no keys. A route that does not exist accepts any key."""
        if self._keys is None:
            return None
        key = _find_key(self._keys.ring, dict(scope["headers"]))
        if needed and needed not in key.scopes:
            raise Forbidden(f"the key of {key.name} does not have the scope {needed}", needed)
        return key

    def _rates_of(self, key: ApiKey) -> Rates:
        own, other = key.rates, self._rates
        return Rates(own.requests_per_second or other.requests_per_second, own.tokens_per_second or other.tokens_per_second)


def _route(scope: Scope) -> BaseRoute | None:
    """Returns the route that will answer; None if the answer will be 404 or 405."""
    routes: list[BaseRoute] = scope["app"].routes
    return next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)


def _find_key(ring: KeyRing, headers: Mapping[bytes, bytes]) -> ApiKey:
    scheme, _, bearer = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    shown = bearer.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key", b"").decode("latin-1").strip()
    if not shown:
        raise Unauthenticated("send an API key in the header `Authorization: Bearer <key>`", shown=False)
    if (key := ring.find(shown)) is None:
        raise Unauthenticated("the API key is unknown: it is misspelt, or it has been revoked", shown=True)
    return key


def describe_access(schema: dict[str, Any], *, keyed: bool, limited: bool) -> None:
    """Adds the keys and rate limits that are configured to an OpenAPI description."""
    if keyed:
        schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            needed = needed_scope(method.upper(), path)
            refusals: list[type[ServiceError]] = [Unauthenticated, Forbidden] if keyed and needed else []
            if limited and needed and path not in OPERATIONS:
                refusals.append(RateLimited)
            if keyed and needed:
                operation["security"] = [{"key": [needed.value]}]
            _add_problems(operation["responses"], refusals)


def _add_problems(responses: dict[str, Any], errors: Sequence[type[ServiceError]]) -> None:
    for status, added in describe_problems(*errors).items():
        texts = [response["description"] for response in (responses.get(str(status)), added) if response]
        responses[str(status)] = {**added, "description": " ".join(texts)}
