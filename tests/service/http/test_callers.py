import asyncio

import pytest

from service.caller import Priority
from service.http.callers import client_address, read_caller


@pytest.mark.parametrize(
    ("host", "client"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8::2:3:4:5", "2001:db8::/64"),
     ("fe80::1%eth0", "fe80::/64"), ("unix", "unix"), ("", "")],
)  # fmt: skip
def test_the_address_of_a_client(host: str, client: str) -> None:
    assert client_address({"client": (host, 1)}) == client


def test_a_connection_without_an_address_has_none() -> None:
    assert client_address({}) == client_address({"client": None}) == ""


@pytest.mark.parametrize(
    ("header", "seconds"), [(b"5", 5), (b"3600", 3600), (b"3601", 10), (b"0", 10), (b"nan", 10), (b"soon", 10), (None, 10)]
)
async def test_the_deadline_that_the_client_asks_for(header: bytes | None, seconds: float) -> None:
    headers = {} if header is None else {b"x-request-timeout": header}
    left = read_caller(headers, "anna", 10).deadline - asyncio.get_running_loop().time()
    assert left == pytest.approx(seconds, abs=0.5)


@pytest.mark.parametrize(
    ("header", "priority"),
    [(b"bulk", Priority.BULK), (b"interactive", Priority.INTERACTIVE), (b"urgent", Priority.INTERACTIVE)],
)
async def test_the_priority_that_the_client_asks_for(header: bytes, priority: Priority) -> None:
    assert read_caller({b"x-priority": header}, "anna", 10).priority is priority


async def test_tokens_are_charged_where_a_meter_is_given() -> None:
    charged: list[int] = []
    read_caller({}, "anna", 10, charged.append).charge(3)
    read_caller({}, "anna", 10).charge(4)
    assert charged == [3]
