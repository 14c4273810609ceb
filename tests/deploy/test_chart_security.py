"""Nobody gets further than they must: privileges, secrets, networks."""

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.chart import CHART, EXAMPLES, LEAST, QDRANT, Chart, Object, containers, of_kind, only, pods, service_container

everywhere = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
SAME_NAMESPACE: Object = {"podSelector": {}}
MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


@everywhere
def test_every_pod_is_locked_down(chart: Chart, example: Path) -> None:
    found = list(pods(chart.example(example)))
    assert found
    for name, pod in found:
        spec, context = pod["spec"], pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] >= 1000, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        # Else a Service called notellm gives the process NOTELLM_PORT=tcp://…
        assert spec["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }, name  # fmt: skip


@everywhere
def test_every_container_has_its_share_of_the_machine(chart: Chart, example: Path) -> None:
    for name, pod in pods(chart.example(example)):
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), name
            assert resources["limits"]["memory"] == resources["requests"]["memory"], name


@everywhere
def test_volumes_are_there_and_the_root_needs_no_writing(chart: Chart, example: Path) -> None:
    for name, pod in pods(chart.example(example)):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        if name.startswith("StatefulSet"):
            volumes.add("storage")
        for container in containers(pod):
            mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounted.keys() <= volumes, name
            assert mounted["tmp"] == "/tmp", name


def test_tmp_is_memory_where_nothing_large_is_written(chart: Chart) -> None:
    volumes = only(chart.template(values=LEAST), "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}} in volumes


@everywhere
def test_secrets_come_from_secrets(chart: Chart, example: Path) -> None:
    objects = chart.example(example)
    assert not of_kind(objects, "Secret"), "values would hold what is in it"
    for _, pod in pods(objects):
        for variable in (variable for container in containers(pod) for variable in container["env"]):
            if variable["name"].endswith(("API_KEY", "TOKEN", "PASSWORD", "SECRET")) and "PLAIN" not in variable["name"]:
                assert variable.keys() == {"name", "valueFrom"}, variable["name"]
                assert variable["valueFrom"].keys() == {"secretKeyRef"}


def test_qdrant_and_the_service_have_the_same_key(chart: Chart) -> None:
    objects = chart.example(CHART / "examples" / "qdrant-own.yaml")
    server = only(objects, "StatefulSet", "notellm-qdrant")["spec"]["template"]["spec"]["containers"][0]
    keys = [
        next(variable for variable in container["env"] if variable["name"] == name)["valueFrom"]["secretKeyRef"]
        for container, name in ((service_container(objects), "NOTELLM_QDRANT_API_KEY"), (server, "QDRANT__SERVICE__API_KEY"))
    ]
    assert keys == [{"name": "notellm-qdrant", "key": "api-key"}] * 2
    reading = next(variable for variable in server["env"] if variable["name"] == "QDRANT__SERVICE__READ_ONLY_API_KEY")
    assert reading["valueFrom"]["secretKeyRef"] == {"name": "notellm-qdrant", "key": "read-key"}


def test_changed_keys_reach_the_process(chart: Chart) -> None:
    """A file that is mounted by itself (subPath) never changes."""
    objects = chart.template(values=LEAST)
    container = service_container(objects)
    mount = next(mount for mount in container["volumeMounts"] if mount["name"] == "keys")
    assert mount == {"name": "keys", "mountPath": "/etc/notellm/keys", "readOnly": True}
    assert {"name": "NOTELLM_API_KEYS_FILE", "value": "/etc/notellm/keys/keys.toml"} in container["env"]
    volumes = only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o440}} in volumes


def policy(chart: Chart, *values: str, name: str = "notellm") -> Any:
    return only(chart.template(values=values), "NetworkPolicy", name)["spec"]


def test_clients_and_prometheus_reach_the_port_and_nothing_else(chart: Chart) -> None:
    spec = policy(chart, *QDRANT)
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"from": [SAME_NAMESPACE, MONITORING], "ports": [{"port": "http", "protocol": "TCP"}]}]


def test_without_peers_nobody_reaches_it(chart: Chart) -> None:
    """A rule with an empty list of peers would let everybody in."""
    assert policy(chart, *LEAST, "networkPolicy.clients=null", "networkPolicy.scrapers=null")["ingress"] == []
    only_scrapers = policy(chart, *LEAST, "networkPolicy.clients=null")["ingress"]
    assert only_scrapers == [{"from": [MONITORING], "ports": [{"port": "http", "protocol": "TCP"}]}]


def test_the_service_reaches_qdrant_and_nothing_else(chart: Chart) -> None:
    assert policy(chart, *LEAST)["egress"] == []
    assert policy(chart, *QDRANT, "qdrant.grpcPort=443")["egress"] == [DNS, {"ports": [{"port": 443, "protocol": "TCP"}]}]
    narrow = policy(chart, *QDRANT, "networkPolicy.qdrant[0].ipBlock.cidr=192.0.2.0/24")["egress"][1]
    assert narrow["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    extra = policy(chart, *LEAST, "networkPolicy.extraEgress[0].ports[0].port=3128")["egress"]
    assert extra == [DNS, {"ports": [{"port": 3128}]}]


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://collector.monitoring.svc:4318", 4318),
        ("https://collector.example.com:4318/otlp", 4318),
        ("https://collector.example.com", 443),
        ("http://collector/otlp", 80),
        ("http://[2001:db8::1]:4318", 4318),
    ],
)
def test_with_traces_the_collector_is_reached(chart: Chart, endpoint: str, port: int) -> None:
    to_collector = {"ports": [{"port": port, "protocol": "TCP"}]}
    assert policy(chart, *LEAST, f"tracing.endpoint={endpoint}")["egress"] == [DNS, to_collector]
    assert policy(chart, *QDRANT, f"tracing.endpoint={endpoint}")["egress"][2:] == [to_collector]
    narrow = policy(chart, *LEAST, f"tracing.endpoint={endpoint}", "networkPolicy.collector[0].podSelector.matchLabels.a=b")
    assert narrow["egress"][1] == to_collector | {"to": [{"podSelector": {"matchLabels": {"a": "b"}}}]}


def test_a_qdrant_of_ones_own_is_reached_by_the_service_and_prometheus_alone(chart: Chart) -> None:
    objects = chart.example(CHART / "examples" / "qdrant-own.yaml")
    (_, service), (_, qdrant) = sorted(pods(objects))
    spec = only(objects, "NetworkPolicy", "notellm-qdrant")["spec"]
    (clients, scrapers, nodes) = spec["ingress"]
    # Nodes that move a shard between them speak by all three.
    assert [rule["ports"] for rule in (clients, nodes)] == [
        [{"port": "grpc", "protocol": "TCP"}],
        [{"port": port, "protocol": "TCP"} for port in ("http", "grpc", "p2p")],
    ]
    (server,) = qdrant["spec"]["containers"]
    named = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert spec["egress"][1]["ports"] == [{"port": named[rule["port"]], "protocol": "TCP"} for rule in nodes["ports"]]
    assert scrapers == {"from": [MONITORING], "ports": [{"port": "http", "protocol": "TCP"}]}
    for rule, meant, other in ((clients, service, qdrant), (nodes, qdrant, service)):
        (peer,) = rule["from"]
        selector = peer["podSelector"]["matchLabels"].items()
        assert selector <= meant["metadata"]["labels"].items()
        assert not selector <= other["metadata"]["labels"].items()
    assert spec["egress"][0] == DNS
    (peer,) = spec["egress"][1]["to"]
    assert peer["podSelector"]["matchLabels"].items() <= qdrant["metadata"]["labels"].items()
    (_, to_qdrant) = only(objects, "NetworkPolicy")["spec"]["egress"]
    assert to_qdrant["ports"] == [{"port": 6334, "protocol": "TCP"}]
    assert to_qdrant["to"][0]["podSelector"]["matchLabels"].items() <= qdrant["metadata"]["labels"].items()


def test_without_scrapers_only_its_own_nodes_reach_qdrants_http_port(chart: Chart) -> None:
    """A rule with an empty list of peers would let everybody in."""
    spec = policy(chart, *LEAST, "qdrant.own.enabled=true", "networkPolicy.scrapers=null", name="notellm-qdrant")
    assert [[port["port"] for port in rule["ports"]] for rule in spec["ingress"]] == [["grpc"], ["http", "grpc", "p2p"]]
    (nodes,) = spec["ingress"][1]["from"]
    assert nodes["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "qdrant"


def test_another_release_can_be_let_at_qdrant(chart: Chart) -> None:
    peer = "networkPolicy.qdrantClients[0].podSelector.matchLabels.release=next"
    spec = policy(chart, *LEAST, "qdrant.own.enabled=true", peer, name="notellm-qdrant")
    assert spec["ingress"][0]["from"][1] == {"podSelector": {"matchLabels": {"release": "next"}}}


def test_policies_can_be_left_out(chart: Chart) -> None:
    objects = chart.template(values=(*LEAST, "qdrant.own.enabled=true", "networkPolicy.enabled=false"))
    assert not of_kind(objects, "NetworkPolicy")
