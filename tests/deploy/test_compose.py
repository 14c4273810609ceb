"""The compose files, as far as can be told without an engine. tests/stack brings the embedded one up."""

import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import PREFIX, Settings, load_settings
from tests.commands import ROOT, run
from tests.requirements import compose_command

BASE, DEPLOY = ROOT / "docker-compose.yml", ROOT / "deploy" / "compose"
PAGES = [ROOT / "README.md", ROOT / ".env.example", BASE, *sorted((ROOT / "docs").glob("*.md")), *sorted(DEPLOY.glob("*.yml"))]
STACKS = {
    "qdrant": [BASE],
    "embedded": [DEPLOY / "embedded.yml"],
    "gpu": [BASE, DEPLOY / "gpu.yml"],
    "keys": [BASE, DEPLOY / "keys.yml"],
    "gpu and keys": [BASE, DEPLOY / "gpu.yml", DEPLOY / "keys.yml"],
    "keys of all": [BASE, DEPLOY / "keys.yml", DEPLOY / "qdrant-key.yml"],
    "monitored": [DEPLOY / "embedded.yml", DEPLOY / "monitoring.yml"],
    "monitored, keys": [DEPLOY / "embedded.yml", DEPLOY / "monitoring.yml", DEPLOY / "keys.yml"],
}
WHOLE = [BASE, DEPLOY / "embedded.yml"]
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content


@cache
def merged(name: str, *options: str) -> dict[str, Any]:
    """A stack as compose understands it."""
    files = [part for file in STACKS[name] for part in ("-f", str(file))]
    content: dict[str, Any] = yaml.safe_load(run(*compose_command(), *options, *files, "config"))
    return content


def containers(file: Path) -> list[Any]:
    return [pytest.param(service, id=f"{file.stem}-{name}") for name, service in read(file)["services"].items()]


ALL = [container for file in WHOLE for container in containers(file)]


@pytest.mark.needs("compose")
@pytest.mark.parametrize("stack", STACKS)
def test_compose_accepts_the_files(stack: str) -> None:
    assert "service" in merged(stack)["services"]


@pytest.mark.needs("compose")
@pytest.mark.parametrize("stack", STACKS)
def test_settings_of_the_service_are_settings(stack: str) -> None:
    """Known by name, valid and allowed together, as they are inside the container: it listens on all addresses."""
    environment = merged(stack)["services"]["service"]["environment"]
    settings = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    Settings.model_validate(settings | {"host": "0.0.0.0"})


def test_the_example_of_an_environment_file_has_every_variable_and_its_default() -> None:
    used = {found for file in [BASE, *DEPLOY.glob("*.yml")] for found in VARIABLE.findall(file.read_text())}
    lines = (
        line.partition("=") for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")
    )
    assert {(name, default) for name, _, default in lines} == used


@pytest.mark.needs("compose")
def test_the_example_changes_nothing() -> None:
    assert merged("gpu and keys", "--env-file", str(ROOT / ".env.example")) == merged("gpu and keys")


@pytest.mark.needs("compose")
@pytest.mark.parametrize("stack", STACKS)
def test_traces_are_passed_on_where_they_are_set(stack: str, tmp_path: Path) -> None:
    """Else the container does not have the variables: compose then shows them without a value, or not at all."""
    chosen = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20x"}
    file = tmp_path / "env"
    file.write_text("".join(f"{name}={value}\n" for name, value in chosen.items()))
    traced, plain = (
        merged(stack, *options)["services"]["service"]["environment"] for options in (("--env-file", str(file)), ())
    )
    assert {name: traced[name] for name in chosen} == chosen
    assert {plain.get(name) for name in chosen} == {None}
    shown = re.findall(r"^# (\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert shown == list(chosen), "without a default, they cannot stand there otherwise"


def test_a_shell_that_exports_the_variables_can_start_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    monkeypatch.setenv("NOTELLM_CHECKPOINT", "/c")
    for name, value in example.items():
        monkeypatch.setenv(name, value)
    assert load_settings(example | {"NOTELLM_CHECKPOINT": "/c"})


@pytest.mark.needs("compose")
def test_a_file_of_variables_is_named_where_compose_would_not_find_it(tmp_path: Path) -> None:
    """By default it reads the one beside the first compose file, and calls the project after that directory."""
    (tmp_path / ".env").write_text("NOTELLM_PORT=8123\nSERVICE_CPUS=1.5\n")
    service = merged("embedded", "--env-file", str(tmp_path / ".env"), "-p", "notellm")["services"]["service"]
    assert "8123" in str(service["ports"])
    assert float(service["cpus"]) == 1.5
    assert "--env-file .env -p notellm -f deploy/compose/embedded.yml" in (ROOT / ".env.example").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_project_is_named_in_every_command_that_would_call_it_after_a_directory(page: Path) -> None:
    for command in re.findall(r"docker compose .*embedded\.yml.*", page.read_text(encoding="utf-8")):
        assert "-p notellm " in command, command


@pytest.mark.parametrize("container", ALL)
def test_images_are_pinned_or_built(container: dict[str, Any]) -> None:
    if "build" in container:
        assert f"AS {container['build']['target']}\n" in (ROOT / "Dockerfile").read_text()
    elif container.get("pull_policy") == "never":  # what another container of the file builds
        assert container["image"] in {other["image"] for case in ALL if "build" in (other := case.values[0])}
    else:
        assert re.search(r":v?\d+\.\d+\.\d+$", container["image"])


@pytest.mark.parametrize("container", ALL)
def test_containers_are_limited(container: dict[str, Any]) -> None:
    assert container["mem_limit"]
    assert container["cpus"]
    assert container["pids_limit"]
    assert "no-new-privileges:true" in container["security_opt"]
    assert container["cap_drop"] == ["ALL"]
    assert container["read_only"]
    assert "/tmp" in container["tmpfs"]
    assert container["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert all(port.startswith("127.0.0.1:") for port in container.get("ports", []))


@pytest.mark.parametrize("file", WHOLE, ids=lambda file: file.stem)
def test_what_is_waited_for_can_tell_its_health(file: Path) -> None:
    services = read(file)["services"]
    order = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert order["service"]["checkpoint"] == {"condition": "service_completed_successfully"}
    for dependencies in order.values():
        for name, dependency in dependencies.items():
            in_image = services[name].get("build", {}).get("target") == "service"
            assert dependency["condition"] == "service_completed_successfully" or in_image or "healthcheck" in services[name]


def test_each_waits_for_what_it_needs() -> None:
    services = read(BASE)["services"]
    assert services["service"]["depends_on"]["qdrant"] == {"condition": "service_healthy"}
    # A container that waits for another cannot be extended by all releases of compose: monitoring.yml does.
    assert not {"depends_on", "network_mode"} & {*services["prometheus"], *services["grafana"]}


@pytest.mark.needs("compose")
def test_monitoring_is_the_same_over_the_embedded_index() -> None:
    whole, small, alone = (deepcopy(merged(name)) for name in ("qdrant", "monitored", "embedded"))
    for name in ("prometheus", "grafana"):
        one, other = small["services"][name], whole["services"][name]
        for container in (one, other):
            container["networks"], container["volumes"] = sorted(container["networks"]), sorted(container["volumes"], key=str)
        assert one == other
    assert "metrics" in small["services"]["service"]["networks"]
    for stack in (small, alone):  # of two files, compose makes another kind of nothing of a network without settings
        stack["services"]["service"]["networks"] = sorted(stack["services"]["service"]["networks"])
    assert small["services"]["service"] == alone["services"]["service"], "it need not start again"


@pytest.mark.parametrize("file", WHOLE, ids=lambda file: file.stem)
def test_the_demos_notes_are_there_only_if_asked_for(file: Path) -> None:
    services = read(file)["services"]
    fill, checkpoint = services["fill"], services["checkpoint"]
    assert fill["profiles"] == ["demo"]
    assert fill["image"] == checkpoint["image"]
    assert "build" not in fill, "two services that build one image at once fail where compose builds side by side"
    assert fill["pull_policy"] == "never"
    assert fill["volumes"] == ["checkpoint:/checkpoint:ro"]
    python, option, module, path, url = fill["command"]
    assert (python, option) == ("python", "-m")
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    assert path == services["service"]["environment"]["NOTELLM_CHECKPOINT"]
    assert (fill["network_mode"], url) == ("service:service", "http://127.0.0.1:8000")


@pytest.mark.parametrize("file", [*WHOLE, DEPLOY / "gpu.yml"], ids=lambda file: file.stem)
def test_data_is_in_named_volumes_and_the_rest_is_mounted_read_only(file: Path) -> None:
    content = read(file)
    used = set()
    for service in content["services"].values():
        for volume in service.get("volumes", []):
            source, _, *mode = volume.split(":")
            if source.startswith("."):
                assert (ROOT / source).is_dir(), source
                assert mode == ["ro"]
            else:
                used.add(source)
    assert used == content["volumes"].keys()


def test_networks_join_only_what_has_to_speak() -> None:
    content = read(BASE)
    joined = {
        network: {name for name, service in content["services"].items() if network in service.get("networks", [])}
        for network in content["networks"]
    }
    assert joined == {
        "storage": {"service", "qdrant"}, "metrics": {"service", "prometheus"}, "dashboards": {"prometheus", "grafana"},
    }  # fmt: skip
    assert content["networks"]["storage"] == {"internal": True}


@pytest.mark.needs("compose")
def test_secrets_come_from_files() -> None:
    content = merged("keys")
    services = content["services"]
    assert services["service"]["environment"]["NOTELLM_ALLOW_ANONYMOUS"] == "false"
    assert services["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_password"
    assert "--config.file=/etc/prometheus/prometheus-keys.yml" in services["prometheus"]["command"]
    files = {name: Path(secret["file"]) for name, secret in content["secrets"].items()}
    assert files == {
        "api_keys": ROOT / "secrets" / "keys.toml", "metrics_key": ROOT / "secrets" / "metrics_key",
        "grafana_password": ROOT / "secrets" / "grafana_password",
    }  # fmt: skip
    assert {"/secrets/", ".env"} <= set((ROOT / ".gitignore").read_text().splitlines())


@pytest.mark.needs("compose")
def test_qdrant_and_the_service_have_the_key_from_files() -> None:
    content = merged("keys of all")
    service, qdrant = content["services"]["service"], content["services"]["qdrant"]
    assert service["environment"]["NOTELLM_SECRETS_DIR"] == "/run/secrets"
    assert {"api_keys", "notellm_qdrant_api_key"} == {secret["source"] for secret in service["secrets"]}
    assert qdrant["secrets"] == [{"source": "qdrant_config", "target": "/qdrant/config/local.yaml"}]
    files = {name: Path(secret["file"]).name for name, secret in content["secrets"].items()}
    assert (files["notellm_qdrant_api_key"], files["qdrant_config"]) == ("qdrant_api_key", "qdrant.yaml")
    assert not any("API_KEY" in name and value for name, value in qdrant["environment"].items())
    assert content["networks"]["storage"]["internal"], "the key is sent without TLS"


def test_the_overlay_with_keys_changes_nothing_else_of_prometheus() -> None:
    plain, keyed = (
        read(BASE)["services"]["prometheus"]["command"],
        read(DEPLOY / "keys.yml")["services"]["prometheus"]["command"],
    )
    assert [part.replace("prometheus-keys", "prometheus") for part in keyed] == plain


@pytest.mark.needs("compose")
def test_a_gpu_is_asked_for() -> None:
    service = merged("gpu")["services"]["service"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert service["environment"]["NOTELLM_ENGINE"] == "vllm"
    assert service["build"]["target"] == "service-gpu"
