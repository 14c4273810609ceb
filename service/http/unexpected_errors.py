"""`UnexpectedErrors`: answers 500 when a defect in the service raises an exception that nothing else handles."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Unexpected
from service.http.problems import problem_response

logger = logging.getLogger(__name__)


class UnexpectedErrors:
    """Logs the exception and answers, unless the answer has already begun.

    An exception handler of the framework would run outside all middleware, where the request id is no longer known.

    Args:
        app: the application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering = False

        async def watched(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            logger.exception("unexpected error")
            if answering:
                raise
            error = Unexpected("an unexpected error; find it in the log by the request id")
            await problem_response(error, scope)(scope, receive, send)
