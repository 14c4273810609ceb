"""What the chart sets, the service takes; what the service takes, the chart can set."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import PREFIX, Settings, load_settings
from service.settings.chart_schema import DECIDED, settings_schema, with_settings
from tests.deploy.chart import CHART, EXAMPLES, LEAST, QDRANT, Chart, environment_of, only, service_container

SCHEMA = CHART / "values.schema.json"
# Each group makes the chart set something else.
CHANGES = [
    LEAST,
    ("checkpoint.hostPath=/models", "auth.allowAnonymous=true"),
    (*LEAST, "engine.kind=vllm", "engine.tensorParallel=8", "gpu.count=8"),
    (*LEAST, "blocklist.configMap=words", "gpu.count=1"),
    (*QDRANT, "qdrant.keySecret=qdrant", "qdrant.caSecret=ca", "qdrant.grpcPort=443", "qdrant.collection=a_b-c"),
    (*LEAST, "qdrant.url=http://qdrant:6333/", "qdrant.keySecret=qdrant", "qdrant.plainKey=true"),
    (*LEAST, "qdrant.own.enabled=true", "qdrant.keySecret=qdrant", "qdrant.plainKey=true", "autoscaling.enabled=true"),
]


def settings_of(chart: Chart, monkeypatch: pytest.MonkeyPatch, *arguments: str, values: tuple[str, ...] = ()) -> Settings:
    """Those that the service makes of a pod's environment; it refuses variables that it does not know."""
    variables = environment_of(service_container(chart.template(*arguments, values=values)))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings(variables)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_service_takes_the_settings_of_the_examples(chart: Chart, example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(chart, monkeypatch, "--values", str(example))
    assert settings.host == "0.0.0.0"
    wanted = yaml.safe_load(example.read_text()).get("settings", {})
    assert {name: getattr(settings, name.removeprefix(PREFIX).lower()) for name in wanted} == wanted


@pytest.mark.parametrize("values", CHANGES)
def test_the_service_takes_the_settings_of_other_values(
    chart: Chart, values: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(chart, monkeypatch, values=values)
    chosen = dict(value.split("=", 1) for value in values)
    assert settings.allow_anonymous == ("auth.allowAnonymous" in chosen)
    assert settings.engine == chosen.get("engine.kind", "local")
    assert settings.vllm_tensor_parallel == int(chosen.get("engine.tensorParallel", "1"))
    assert bool(settings.qdrant_api_key) == ("qdrant.keySecret" in chosen)
    assert settings.qdrant_collection == chosen.get("qdrant.collection", "notes")
    assert settings.qdrant_url == chosen.get(
        "qdrant.url", "http://notellm-qdrant:6333" if "qdrant.own.enabled" in chosen else None
    )
    assert settings.qdrant_grpc_port == int(chosen.get("qdrant.grpcPort", "6334"))


def test_large_numbers_are_not_written_as_powers_of_ten(chart: Chart) -> None:
    variables = environment_of(service_container(chart.example(CHART / "examples" / "qdrant.yaml")))
    assert variables["NOTELLM_MAX_BODY_BYTES"] == "8388608"
    # `--set` would make a string of a fraction.
    fraction = ("--set-json", "settings.NOTELLM_VLLM_STALL_SECONDS=0.00005")
    values = (*LEAST, "settings.NOTELLM_MAX_QUEUE_TOKENS=1073741824")
    variables = environment_of(service_container(chart.template(*fraction, values=values)))
    assert float(variables["NOTELLM_VLLM_STALL_SECONDS"]) == 0.00005
    assert variables["NOTELLM_MAX_QUEUE_TOKENS"] == "1073741824"


def test_the_defaults_are_those_of_the_service(chart: Chart, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(chart, monkeypatch, values=QDRANT)
    for name in (
        "port",
        "canary_seconds",
        "shutdown_seconds",
        "qdrant_grpc_port",
        "qdrant_timeout_seconds",
        "qdrant_collection",
    ):
        assert getattr(settings, name) == Settings.model_fields[name].default, name


def test_every_setting_can_be_reached() -> None:
    """By a value of its own or among `settings`; but a remote engine, which the chart does not have."""
    names = {name.removeprefix(PREFIX).lower() for name in settings_schema()}
    assert not names & DECIDED
    wanted = {name for name in Settings.model_fields if not name.startswith("remote_")}
    assert wanted == names | DECIDED, "offer it as a value of the chart, and name it in settings_schema.DECIDED"


def test_no_secret_is_among_the_values() -> None:
    secrets = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secrets >= {"remote_api_key", "qdrant_api_key"}
    assert not {PREFIX + name.upper() for name in secrets} & settings_schema().keys()


def test_the_schema_is_up_to_date() -> None:
    text = SCHEMA.read_text(encoding="utf-8")
    assert with_settings(text) == text, "run: make docs"


def test_the_schema_has_the_values_and_no_others() -> None:
    """Else a value would be refused that is documented, or one be taken that nothing reads."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    definitions = schema["definitions"]

    def names(part: Any, path: str = "") -> set[str]:
        reference = part.get("$ref")
        resolved = definitions[str(reference).rpartition("/")[2]] if reference else part
        properties = resolved.get("properties", {})
        return {path} if not properties else {n for key, sub in properties.items() for n in names(sub, f"{path}.{key}")}

    def leaves(part: Any, path: str = "") -> set[str]:
        inner = part.items() if isinstance(part, dict) else ()
        return {n for key, sub in inner for n in leaves(sub, f"{path}.{key}")} or {path}

    free = (".settings", ".resources.", ".qdrant.own.resources.", ".global")
    known = {name for name in names(schema) if not name.startswith(free)}
    assert known == {name for name in leaves(values) if not name.startswith(free)}


def test_names_of_digits_stay_names(chart: Chart) -> None:
    """Without quotes, YAML would make numbers of them, which the API refuses."""
    named = (
        "qdrant.collection=20261120",
        "qdrant.keySecret=1",
        "auth.keysSecret=2",
        "checkpoint.existingClaim=3",
        "checkpoint.path=4",
    )
    texts = [part for one in (*named, "priorityClassName=5") for part in ("--set-string", one)]
    objects = chart.template(*texts, values=("qdrant.url=https://qdrant.example.com:6333",))
    kubernetes_validate.validate(only(objects, "Deployment"), "1.34", strict=True)
    assert environment_of(service_container(objects))["NOTELLM_QDRANT_COLLECTION"] == "20261120"
