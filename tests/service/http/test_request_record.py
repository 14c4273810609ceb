"""Each request is counted, timed and logged once, however it ends."""

import logging

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from service.http.request_record import RequestRecord
from service.observability import Metrics

SERIES = "notellm_http_requests_total"


async def answered(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(None, 201)(scope, receive, send)


async def failed(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError("a defect")


async def unanswered(scope: Scope, receive: Receive, send: Send) -> None:
    """Ends without an answer, as where the client has left."""


async def ask(record: RequestRecord, method: str) -> None:
    scope: Scope = {"type": "http", "method": method, "path": "/notes/private-id", "headers": [], "state": {"key": "feed"}}

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        assert message

    await record(scope, receive, send)


@pytest.mark.parametrize(("method", "label"), [("POST", "POST"), ("BREW", "other")])
async def test_an_answer_is_recorded_without_what_the_client_chose(
    method: str, label: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "service.access")
    metrics = Metrics()
    await ask(RequestRecord(answered, metrics), method)
    labels = {"method": label, "route": "unknown", "status": "201"}
    assert metrics.registry.get_sample_value(SERIES, labels) == 1
    assert metrics.registry.get_sample_value("notellm_http_requests_in_flight") == 0
    (line,) = [record for record in caplog.records if record.name == "service.access"]
    told = vars(line)
    assert (line.levelno, told["method"], told["status"], told["client"]) == (logging.INFO, label, 201, "feed")
    assert "private-id" not in str(told)


async def test_no_answer_counts_as_a_client_that_left() -> None:
    metrics = Metrics()
    record = RequestRecord(unanswered, metrics)
    await ask(record, "GET")
    with pytest.raises(KeyError):
        await ask(RequestRecord(failed, metrics), "GET")
    labels = {"method": "GET", "route": "unknown", "status": "499"}
    assert metrics.registry.get_sample_value(SERIES, labels) == 2
    assert metrics.registry.get_sample_value("notellm_http_requests_in_flight") == 0


@pytest.mark.parametrize(("path", "level"), [("/health/live", logging.DEBUG), ("/model", logging.INFO)])
async def test_probes_and_scrapes_do_not_fill_the_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str, level: int
) -> None:
    caplog.set_level(logging.DEBUG, "service.access")
    await client.get(path)
    assert [record.levelno for record in caplog.records if record.name == "service.access"] == [level]
