"""How long a call of the server may take."""

import asyncio
from typing import NoReturn

import grpc
import pytest

from service.index.server.calls import NoAnswer, ServerCalls
from tests.clock import VirtualTime


async def never() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def fails_slowly() -> NoReturn:
    await asyncio.sleep(6)
    raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


async def test_a_call_has_so_many_seconds_over_all_of_its_tries(virtual_time: VirtualTime) -> None:
    calls = ServerCalls(10)
    for asking in (calls.once(never), calls.repeatable(never), calls.repeatable(fails_slowly)):
        start = virtual_time()
        with pytest.raises(NoAnswer, match="has not answered within 10 s"):
            await asking
        assert virtual_time() - start == pytest.approx(10)
