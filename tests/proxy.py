"""`TcpProxy`: a proxy between a client and a server that makes the network between them fail."""

import asyncio
import contextlib


class TcpProxy:
    """Listens on its own port and forwards bytes in both directions, until it is told to refuse or to hang.

    Args:
        host: host of the server.
        port: port of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._hanging = False
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Starts to listen; after a stop, on the same port as before."""
        self._hanging = False
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Closes all connections and accepts no new ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def hang(self) -> None:
        """Forwards nothing more. Open and new connections stay open but dead, even after the next `start`."""
        self._hanging = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            if not self._hanging:
                upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
                with contextlib.closing(upstream_writer):
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._pump(reader, upstream_writer))
                        group.create_task(self._pump(upstream_reader, writer))
            else:
                await asyncio.Event().wait()
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # an ordinary end of the connection; asyncio's stream server would report a cancelled task as an error
        finally:
            writer.close()
            self._connections.discard(connection)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self._hanging:
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()
        writer.close()
