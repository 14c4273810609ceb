"""Export of spans: how they are sent, what happens if they cannot be sent, and which settings are refused."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from harness.processes import ROOT
from harness.service import RunningService, free_port, running_service
from service.errors import StartupError
from service.observability import spans
from service.observability.trace_export import open_tracing
from tests.clock import until_now
from tests.otlp import CALLER, TRACES, named, running_collector, tree, under

NOTE = {"notes": [{"id": "n0", "title": "one"}], "store": False}
ENDPOINT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")


def ask_once(service: RunningService) -> None:
    httpx.post(f"{service.url}/notes/embed", json=NOTE, timeout=60, trust_env=False).raise_for_status()


def test_a_process_sends_its_spans_and_the_last_ones_at_its_end(tiny_path: Path, tmp_path: Path) -> None:
    with (
        running_collector() as collector,
        running_service(
            tiny_path, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="60000"
        ) as service,
    ):
        body = {"notes": [{"id": "n1", "title": "cold brew"}]}
        asked = {"json": body, "headers": under(TRACES[0]), "timeout": 60, "trust_env": False}
        httpx.post(f"{service.url}/notes/embed", **asked).raise_for_status()  # type: ignore[arg-type]
        assert not collector.spans
        assert service.stop() == 0
    assert collector.services == {"notellm"}
    seen = [span for span in collector.spans if span.trace == TRACES[0]]
    request = named(seen, "POST /notes/embed")
    assert request.parent == CALLER
    assert tree(seen, request) == (
        "POST /notes/embed", ["index get", "tokenize", ("queue embed", ["wait", "forward"]), "index upsert"],
    )  # fmt: skip
    queued, batch = named(seen, "queue embed"), named(collector.spans, "batch embed")
    assert batch.links == {(queued.trace, queued.id)}
    assert f'"trace_id": "{TRACES[0]}"' in service.log.read_text()


def test_without_a_collector_requests_are_answered_and_the_process_ends(tiny_path: Path, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with running_service(tiny_path, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=nobody, OTEL_BSP_SCHEDULE_DELAY="50") as service:
        ask_once(service)
        until_now(lambda: "encountered while exporting spans" in service.log.read_text())
        ask_once(service)
        assert service.stop() == 0


def test_a_collector_that_is_silent_holds_up_neither_requests_nor_the_end(tiny_path: Path, tmp_path: Path) -> None:
    """The exporter would wait an hour for it."""
    with (
        running_collector(silent=True) as collector,
        running_service(
            tiny_path,
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_TIMEOUT="3600",
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as service,
    ):
        ask_once(service)
        until_now(collector.asked.is_set)
        ask_once(service)
        assert service.stop() == 0


async def test_the_last_spans_are_given_up_where_the_collector_is_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spans, "FLUSH_SECONDS", 0.5)
    with running_collector(silent=True) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
        async with open_tracing() as tracing:
            assert tracing
            with tracing.request({"type": "http", "method": "GET", "headers": []}):
                pass
            start = time.monotonic()
        assert time.monotonic() - start >= spans.FLUSH_SECONDS
    assert "they are lost" in caplog.text


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ([("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")], "OTEL_EXPORTER_OTLP_ENDPOINT: must begin with http://"),
        ([ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "PROTOCOL: grpc is not supported; supported: http/protobuf"),
        ([ENDPOINT, ("OTEL_TRACES_EXPORTER", "zipkin")], "OTEL_TRACES_EXPORTER: zipkin"),
        ([ENDPOINT, ("OTEL_TRACES_SAMPLER", "half")], "OTEL_TRACES_SAMPLER: half"),
        ([ENDPOINT, ("OTEL_BSP_MAX_QUEUE_SIZE", "1")], "an OTEL_ variable is wrong: max_export_batch_size"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, variables: Sequence[tuple[str, str]], told: str
) -> None:
    for name, value in variables:
        monkeypatch.setenv(name, value)
    with pytest.raises(StartupError) as error:
        async with open_tracing():
            pass
    assert told in str(error.value)


@pytest.mark.parametrize(
    "variables", [[], [ENDPOINT, ("OTEL_SDK_DISABLED", "true")], [ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]]
)
async def test_it_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch, variables: Sequence[tuple[str, str]]) -> None:
    for name, value in variables:
        monkeypatch.setenv(name, value)
    async with open_tracing() as tracing:
        assert tracing is None


def serve_without_opentelemetry(checkpoint: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Starts the service without an importable OpenTelemetry. The checkpoint need not be valid."""
    code = "import sys; sys.modules['opentelemetry'] = None; from service.cli import main; sys.argv = ['notellm-serve']; main()"
    variables = {"PATH": "", "PYTHONPATH": str(ROOT), "NOTELLM_CHECKPOINT": str(checkpoint), **environment}
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=300, check=False)


def test_what_is_not_installed_is_told(tmp_path: Path) -> None:
    asked = serve_without_opentelemetry(tmp_path, **dict([ENDPOINT]))
    assert asked.returncode == 1
    assert "pip install 'notellm[tracing]'" in asked.stderr
    assert asked.stderr.count("\n") == 1
    off = serve_without_opentelemetry(tmp_path)
    assert off.returncode == 1
    assert str(tmp_path) in off.stderr, "it has come as far as the checkpoint"
