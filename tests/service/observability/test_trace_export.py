"""Export of spans: how they are sent, what happens if they cannot be sent, and which settings are refused."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from harness.processes import ROOT
from harness.service import free_port, running_service
from service.errors import StartupError
from service.observability.spans import FLUSH_SECONDS
from service.observability.trace_export import open_tracing
from tests.otlp import CALLER, TRACES, named, running_collector, tree, under

NOTE = {"notes": [{"id": "n0", "title": "one"}], "store": False}
ENDPOINT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")


def test_a_process_sends_its_spans_and_the_last_ones_at_its_end(tiny_path: Path, tmp_path: Path) -> None:
    with (
        running_collector() as collector,
        running_service(
            tiny_path, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="60000"
        ) as service,
    ):
        body = {"notes": [{"id": "n1", "title": "cold brew"}]}
        httpx.post(f"{service.url}/notes/embed", json=body, headers=under(TRACES[0]), trust_env=False).raise_for_status()
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
        slowest = 0.0
        for _ in range(20):
            start = time.monotonic()
            httpx.post(f"{service.url}/notes/embed", json=NOTE, trust_env=False).raise_for_status()
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.03)
        start = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - start < FLUSH_SECONDS + 5
    assert slowest < 1
    assert "encountered while exporting spans" in service.log.read_text()


async def test_a_collector_that_is_silent_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running_collector(silent=True) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
        async with open_tracing() as tracing:
            assert tracing
            with tracing.request({"type": "http", "method": "GET", "headers": []}):
                pass
            start = time.monotonic()
        assert FLUSH_SECONDS <= time.monotonic() - start < FLUSH_SECONDS + 2
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
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120, check=False)


def test_what_is_not_installed_is_told(tmp_path: Path) -> None:
    asked = serve_without_opentelemetry(tmp_path, **dict([ENDPOINT]))
    assert asked.returncode == 1
    assert "pip install 'notellm[tracing]'" in asked.stderr
    assert asked.stderr.count("\n") == 1
    off = serve_without_opentelemetry(tmp_path)
    assert off.returncode == 1
    assert str(tmp_path) in off.stderr, "it has come as far as the checkpoint"
