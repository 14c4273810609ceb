"""Traces of a release: the service takes the chart's variables, and spans reach a collector."""

from pathlib import Path

import kubernetes_validate
import pytest
from opentelemetry.sdk.trace import Tracer

from service.observability import open_tracing
from service.settings import load_settings
from tests.deploy.chart import LEAST, Chart, environment_of, only, service_container
from tests.otlp import running_collector

HEADERS = "Authorization=Bearer%20x"


def variables(chart: Chart, *values: str, arguments: tuple[str, ...] = ()) -> dict[str, str]:
    objects = chart.template(*arguments, values=(*LEAST, *values))
    for version in ("1.30", "1.37"):
        kubernetes_validate.validate(only(objects, "Deployment"), version, strict=True)
    return environment_of(service_container(objects), secret=HEADERS)


def enter(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_without_a_collector_there_are_none(chart: Chart) -> None:
    assert not [name for name in variables(chart) if name.startswith("OTEL_")]


async def test_spans_of_a_release_reach_the_collector(chart: Chart, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_collector() as collector:
        traced = variables(chart, f"tracing.endpoint={collector.url}", "tracing.attributes.team=feed\\, search $(HOME)")
        enter(traced, monkeypatch)
        load_settings(traced)
        async with open_tracing() as tracing:
            assert tracing is not None
            assert isinstance(tracing.requests, Tracer)
            facts = tracing.requests.resource.attributes
            tracing.requests.start_span("GET /model").end()
    assert [span.name for span in collector.spans] == ["GET /model"]
    assert collector.services == {"notellm"}
    own = {"k8s.namespace.name": "notes", "k8s.pod.name": "notellm-0", "team": "feed, search $(HOME)"}
    assert own.items() <= facts.items()


def test_what_the_collector_asks_for_comes_from_a_secret(chart: Chart) -> None:
    values = (*LEAST, "tracing.endpoint=https://collector:4318", "tracing.headersSecret=traces", "tracing.headersName=h")
    container = service_container(chart.template(values=values))
    (headers,) = [variable for variable in container["env"] if variable["name"] == "OTEL_EXPORTER_OTLP_HEADERS"]
    assert headers == {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": {"secretKeyRef": {"name": "traces", "key": "h"}}}
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in variables(chart, "tracing.endpoint=https://collector:4318")


def test_a_release_can_name_its_spans(chart: Chart) -> None:
    endpoint = "tracing.endpoint=http://collector:4318"
    assert variables(chart, endpoint, "fullnameOverride=notellm")["OTEL_SERVICE_NAME"] == "notellm"
    assert variables(chart, endpoint, "tracing.serviceName=feed-notes")["OTEL_SERVICE_NAME"] == "feed-notes"


def test_further_variables_reach_the_container(chart: Chart, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        "extraEnv: [{name: OTEL_TRACES_SAMPLER, value: always_off}, {name: K, valueFrom: {secretKeyRef: {name: a, key: b}}}]"
    )
    found = variables(chart, arguments=("--values", str(values)))
    assert (found["OTEL_TRACES_SAMPLER"], found["K"]) == ("always_off", HEADERS)
