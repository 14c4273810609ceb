"""`TcpProxy`: stands between a client and a server, and makes the network between them fail."""

import asyncio
import contextlib


class TcpProxy:
    """Forwards bytes in both directions from a port of its own, until it is told otherwise.

    Args:
        host, port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._hanging = False
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens, on the same port as before."""
        self._hanging = False
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Breaks all connections off and takes no new ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def hang(self) -> None:
        """Lets nothing through: connections stay open and are dead for good, also after the next `start`; new ones, too."""
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
            pass  # an end of the connection like any other; a task of a stream server must not be seen cancelled
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
