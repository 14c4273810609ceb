"""Headers for browsers: `SecurityHeaders` on every answer, policies for pages, and what pages from other origins may send and read."""

import re
from base64 import b64encode
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
CORS_METHODS = ("GET", "HEAD", "POST", "DELETE")
CORS_REQUEST_HEADERS = (
    "Authorization", "Content-Encoding", "Content-Type", "X-API-Key", "X-Request-Id", "X-Request-Timeout", "X-Priority",
)  # fmt: skip
CORS_ANSWER_HEADERS = ("X-Request-Id", "API-Version", "Retry-After")


class SecurityHeaders:
    """Adds the security headers to every answer.

    `Strict-Transport-Security` is missing on purpose: the service speaks plain HTTP, and browsers ignore the header there. The TLS
    proxy sets it.

    Args:
        app: the application inside. A page sets a content security policy of its own; everything else gets one that allows nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Content-Security-Policy", NOTHING)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def page_policy(html: str) -> str:
    """Returns a policy that lets one of FastAPI's pages work: it allows inline scripts by hash, and other files by their host."""
    inline = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in inline]
    scripts, styles, images = (
        sorted({_origin(url) for url in re.findall(pattern, html)})
        for pattern in (r'<script src="([^"]+)"', r'rel="stylesheet" href="([^"]+)"', r'rel="shortcut icon" href="([^"]+)"')
    )
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src", *scripts, *hashes]),
            " ".join(["style-src", *styles, "'unsafe-inline'"]),  # Swagger UI uses style attributes
            " ".join(["img-src", "data:", *images]),
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "'self'"
