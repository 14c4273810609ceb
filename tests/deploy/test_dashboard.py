"""Every expression of the dashboard and the rules, asked of a real Prometheus that reads a real service with keys."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from harness.service import RunningService, running_service
from service.security import Scope
from tests.commands import ROOT
from tests.prometheus import RunningPrometheus, running_prometheus
from tests.service.calls import NOTES
from tests.service.security.keyed import KEYS, bearer, write_keys

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "notellm.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules" / "notellm.yml").read_text())["groups"]
    for rule in group["rules"]
]
ROWS = ["Traffic", "Errors", "Latency", "Saturation", "Queue", "Batches", "Truncation", "Index", "vLLM", "Rate limits and keys"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# What a service that is well, with an embedded index and the local engine, has nothing of.
NOTHING = {
    ("Up, ready, alerts", "B"), ("Up, ready, alerts", "C"), ("Failed operations, and the breaker (1 is open)", "B"),
    ("Engine up, and the breaker of a remote engine (1 is open)", "B"),
}  # fmt: skip
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "1m"}
# Prometheus makes these itself.
BUILT_IN = {"up", "ALERTS"}
KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}


def targets() -> dict[tuple[str, str], str]:
    """Expressions by their panel and letter."""
    found = {}
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            found[panel["title"], target["refId"]] = expression
    return found


def metrics_of(expression: str) -> set[str]:
    """The names in an expression that are metrics: what is left without labels, durations, groupings, functions and numbers."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])", bare)) - KEYWORDS


@pytest.fixture(scope="module")
def service(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    keys = write_keys(folder / "keys.toml")
    with running_service(tiny_path, folder / "data", NOTELLM_API_KEYS_FILE=str(keys)) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPrometheus]:
    """It has read some traffic, too."""
    with running_prometheus(
        tmp_path_factory.mktemp("prometheus"), service.url.removeprefix("http://"), key=KEYS[Scope.METRICS],
        seconds=1,
    ) as running:  # fmt: skip
        with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client:
            assert client.post("/notes/embed", json={"notes": NOTES}, headers=bearer("write")).is_success
            assert client.get("/notes/a1/similar", headers=bearer("read")).is_success
            assert client.post("/notes/hashtags", json={"notes": [{"title": "Hops"}]}, headers=bearer("read")).is_success
            assert client.get("/notes/a1").status_code == 401
        running.wait_for('rate(notellm_http_requests_total{status="401"}[1m])', 120)
        running.wait_for('instance_route:notellm_http_request_seconds:p99_rate5m{route="/notes/hashtags"}', 120)
        yield running


def families(service: RunningService) -> dict[str, str]:
    """Its metrics and their types; one without samples yet has its type."""
    text = service.get("/metrics", **bearer("metrics")).text
    return {family.name: family.type for family in text_string_to_metric_families(text)}


def exported(service: RunningService) -> set[str]:
    """Names of all series that the service may have."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return {name + suffix for name, kind in families(service).items() for suffix in suffixes.get(kind, [""])}


@pytest.mark.needs("prometheus")
def test_prometheus_reads_the_service_with_its_key(prometheus: RunningPrometheus) -> None:
    assert [series["value"][1] for series in prometheus.query('up{job="notellm"}')] == ["1"]
    assert not prometheus.query('notellm_http_requests_total{route="/metrics", status="401"}')


@pytest.mark.needs("prometheus")
def test_panels_show_what_there_is(prometheus: RunningPrometheus) -> None:
    shown = {place for place, expression in targets().items() if prometheus.query(expression)}
    assert targets().keys() - shown == NOTHING


@pytest.mark.needs("prometheus")
def test_annotations_and_variables_are_right(prometheus: RunningPrometheus) -> None:
    for annotation in DASHBOARD["annotations"]["list"]:
        expression = annotation["expr"]
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        prometheus.query(expression)
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            (found,) = prometheus.query(series.replace("$job", ".*"))
            assert found["metric"][label]


@pytest.mark.needs("prometheus")
def test_every_rule_is_evaluated(prometheus: RunningPrometheus) -> None:
    running = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(running) == len(RULES)
    assert {(rule["health"], rule.get("lastError")) for rule in running} == {("ok", None)}
    assert prometheus.firing() == {}


def test_only_metrics_that_the_service_has_are_used(service: RunningService) -> None:
    known = exported(service) | {rule["record"] for rule in RULES if "record" in rule} | BUILT_IN
    for expression in [*targets().values(), *(rule["expr"] for rule in RULES)]:
        used = metrics_of(expression)
        assert used, expression
        assert used <= known, (used - known, expression)


def test_the_documentation_lists_the_metrics_that_there_are(service: RunningService) -> None:
    section = (ROOT / "docs" / "operations.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = (line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    names = {f"{name}_total" if kind == "counter" else name for name, kind in families(service).items()}
    own = {name for name in names if name.startswith("notellm_") and not name.endswith("_created")}
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == own


@pytest.mark.parametrize(
    ("expression", "metrics"),
    [
        (
            'sum by (le) (rate(a_bucket{x=~"b|c{d}"}[5m])) / ignoring (e) group_left b:c_total * 1.5e3',
            {"a_bucket", "b:c_total"},
        ),
        ("up == 0 unless on (job) histogram_quantile(0.9, x) > -2", {"up", "x"}),
    ],
)
def test_metrics_are_found_in_expressions(expression: str, metrics: set[str]) -> None:
    assert metrics_of(expression) == metrics


def test_the_dashboard_has_its_rows_and_no_panel_covers_another() -> None:
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == ROWS
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not own & cells, panel["title"]
        cells |= own


def test_grafana_is_provisioned_with_what_is_mounted() -> None:
    def provisioned(kind: str, file: str) -> Any:
        return yaml.safe_load((GRAFANA / "provisioning" / kind / file).read_text())

    (source,) = provisioned("datasources", "prometheus.yml")["datasources"]
    assert source["uid"] == DASHBOARD["templating"]["list"][0]["current"]["value"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounts = {
        target: place for place, target, _ in (volume.split(":") for volume in grafana["volumes"] if volume.endswith(":ro"))
    }
    (provider,) = provisioned("dashboards", "notellm.yml")["providers"]
    assert mounts[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{provider['options']['path']}/notellm.json"
    for kind in ("datasources", "dashboards"):
        assert mounts[f"/etc/grafana/provisioning/{kind}"] == f"./deploy/grafana/provisioning/{kind}"
