"""Each value does something: another one changes what is installed, or is refused by name where it needs a second one."""

import json
import re
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, Chart, Object

# Installations in which the values matter. What is not named below is looked at in the first.
SERVER = """
engine: {kind: vllm}
gpu: {count: 1}
checkpoint: {existingClaim: models}
qdrant: {url: "https://qdrant.example.com:6333", keySecret: qdrant, caSecret: ca}
auth: {keysSecret: keys}
blocklist: {configMap: words}
tracing: {endpoint: "https://collector.example.com:4318", headersSecret: traces}
autoscaling: {enabled: true}
serviceMonitor: {enabled: true, keySecret: metrics}
prometheusRules: {files: {alerts: "runbook_url: docs/operations.md"}}
grafanaDashboards: {files: {board: "{}"}}
"""
OWN = """
checkpoint: {existingClaim: models}
qdrant: {keySecret: qdrant, plainKey: true, own: {enabled: true}}
auth: {keysSecret: keys}
"""
EMBEDDED = """
checkpoint: {image: {repository: model}}
auth: {keysSecret: keys}
"""
NODE = """
checkpoint: {hostPath: /models}
auth: {keysSecret: keys}
"""
ELSEWHERE = {
    "checkpoint.image.": EMBEDDED, "checkpoint.hostPath": NODE, "embedded.": EMBEDDED, "engine.kind": "gpu: {count: 1}" + NODE,
    "gpu.count": EMBEDDED, "networkPolicy.qdrantClients": OWN, "qdrant.own.": OWN, "qdrant.own.enabled": EMBEDDED, "replicas": OWN,
}  # fmt: skip

# Others than those that `another` finds.
OTHERS: dict[str, Any] = {
    "checkpoint.hostPath": "/other",
    "engine.kind": "vllm",
    "extraEnv": [{"name": "OTHER", "value": "x"}],
    "gpu.resource": "example.com/other",
    "imagePullSecrets": ["other"],
    "checkpoint.image.command": ["other"],
    "prometheusRules.runbookBase": "https://other.example.com",
    "qdrant.url": "https://other.example.com:6333",
    "service.type": "NodePort",
    "settings": {"NOTELLM_THREADS": 3},
    "topologySpread": ["other"],
    "tracing.endpoint": "https://other.example.com:4318",
}
PARTS = {"digest": "sha256:" + "0" * 64, "pullPolicy": "Always"}
# Each needs a second value that is changed with it.
COUPLED = {"auth.allowAnonymous": True, "engine.tensorParallel": 2}


def leaves(values: Object, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= leaves(value, f"{path}{name}.") if isinstance(value, dict) and value else {path + name: value}
    return found


VALUES = leaves(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))


def base_of(name: str) -> str:
    return ELSEWHERE.get(name) or next((base for start, base in ELSEWHERE.items() if name.startswith(start)), SERVER)


def another(name: str, value: Any) -> Any:
    """A value that the schema takes, instead of this one."""
    part = name.rpartition(".")[2]
    if name in OTHERS or part in PARTS:
        return OTHERS.get(name, PARTS.get(part))
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            amount = re.fullmatch(r"\d+([GM]i|s)?", value)
            return f"77{amount[1] or ''}" if amount else "other"
        case list():
            return [{"key": "other"}]
    return {"other": "x"}


@pytest.mark.parametrize("name", [name for name in VALUES if name not in COUPLED])
def test_another_value_installs_something_else(chart: Chart, name: str) -> None:
    base = yaml.safe_load(base_of(name))
    value = another(name, leaves(base).get(name, VALUES[name]))
    given = ("--set-json", json.dumps(base))
    assert chart.template(*given, "--set-json", f"{name}={json.dumps(value)}") != chart.template(*given)


@pytest.mark.parametrize(("name", "value"), COUPLED.items())
def test_a_value_that_needs_a_second_one_is_refused_by_name(chart: Chart, name: str, value: Any) -> None:
    assert name in chart.refusal(f"{name}={json.dumps(value)}", arguments=("--set-json", json.dumps(yaml.safe_load(NODE))))


def test_the_tables_name_values_that_there_are() -> None:
    assert VALUES.keys() >= {*OTHERS, *COUPLED}
    for start in ELSEWHERE:
        assert any(name.startswith(start) for name in VALUES), start
