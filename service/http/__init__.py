"""The ASGI application (routes, schemas, middleware, error documents), and its server's handling of connections and shutdown."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from service.http.app import create_app as create_app, create_archive_app as create_archive_app
    from service.http.draining import Drain as Drain, DrainingServer as DrainingServer
    from service.http.head_limit import MAX_HEAD_BYTES as MAX_HEAD_BYTES
    from service.http.slow_clients import SlowClientProtocol as SlowClientProtocol
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".app": ("create_app", "create_archive_app"),
            ".draining": ("Drain", "DrainingServer"),
            ".head_limit": ("MAX_HEAD_BYTES",),
            ".slow_clients": ("SlowClientProtocol",),
        },
    )
