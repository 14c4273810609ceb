"""A Qdrant server's stand-in behind a network that fails as it is told, in a process of its own.

`python -m tests.soak.stand_in` says its port and reads `start`, `refuse` and `hang` from standard input, until that ends.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.processes import ROOT
from tests.proxy import TcpProxy
from tests.qdrant import QdrantStandIn


class StandIn:
    """The process, for who has started it.

    Attributes:
        port: of the network in front of it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._read())

    def tell(self, word: str) -> None:
        """Returns when it is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._read() == word

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def stand_in_process() -> Iterator[StandIn]:
    """For the length of a `with` block."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.soak.stand_in"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield StandIn(process)
        finally:
            process.kill()


async def main() -> None:
    """See above."""
    server = QdrantStandIn()
    await server.start()
    network = TcpProxy("127.0.0.1", server.port)
    await network.start()
    print(network.port, flush=True)  # noqa: T201 - its protocol
    words = {"start": network.start, "refuse": network.refuse, "hang": network.hang}
    while line := await asyncio.to_thread(sys.stdin.readline):
        await words[line.strip()]()
        print(line.strip(), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
