"""Headers for browsers: `SecurityHeaders` on every answer, policies for pages, and what pages from other origins may send and read."""

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from fastapi.openapi.docs import get_swagger_ui_html
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
CORS_REQUEST_HEADERS = ("Authorization", "Content-Type", "X-API-Key", "X-Request-Id", "X-Request-Timeout", "X-Priority")
CORS_ANSWER_HEADERS = ("X-Request-Id", "API-Version", "Retry-After")


class SecurityHeaders:
    """Adds the security headers to every answer.

    `Strict-Transport-Security` is missing on purpose: the service speaks plain HTTP, and browsers ignore the header there. The TLS
    proxy sets it.

    Args:
        app: the application inside.
        pages: content security policies for the paths that return web pages instead of data.
    """

    def __init__(self, app: ASGIApp, pages: Mapping[str, str]) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["Content-Security-Policy"] = self._pages.get(scope["path"], NOTHING)
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


def docs_policy(openapi_url: str, title: str, oauth2_redirect_url: str | None) -> str:
    """Returns the policy for the interactive API documentation."""
    page = get_swagger_ui_html(openapi_url=openapi_url, title=title, oauth2_redirect_url=oauth2_redirect_url)
    return page_policy(bytes(page.body).decode())


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "'self'"
