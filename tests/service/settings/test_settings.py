from pathlib import Path

import pytest

from service.errors import StartupError
from service.settings.loading import load_settings
from service.settings.page import as_markdown
from service.settings.settings import Settings


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    environment = {"NOTELLM_CHECKPOINT": "/c", **variables}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings(environment)


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert settings.checkpoint == Path("/c")
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NOTELLM_CHECKPONT": "x"}, "NOTELLM_CHECKPONT is not a setting; did you mean NOTELLM_CHECKPOINT"),
        ({"NOTELLM_PORT": "many"}, "NOTELLM_PORT: Input should be a valid integer"),
        ({"NOTELLM_LOG_LEVEL": "LOUD"}, "NOTELLM_LOG_LEVEL"),
        ({"NOTELLM_QDRANT_API_KEY": "secret"}, "NOTELLM_QDRANT_API_KEY is set without NOTELLM_QDRANT_URL"),
        ({"NOTELLM_QDRANT_URL": "qdrant:6333"}, "NOTELLM_QDRANT_URL: String should match pattern"),
        (
            {"NOTELLM_QDRANT_URL": "http://qdrant:6333", "NOTELLM_QDRANT_API_KEY": "secret"},
            "unencrypted: set an https:// address, or NOTELLM_QDRANT_PLAIN_API_KEY=true",
        ),
        ({"NOTELLM_QDRANT_URL": "http://localhost.example.org", "NOTELLM_QDRANT_API_KEY": "secret"}, "unencrypted"),
        ({"NOTELLM_QDRANT_URL": "http://qdrant:6333", "NOTELLM_QDRANT_CA_FILE": "/ca"}, "without an https://"),
        ({"NOTELLM_QDRANT_REPLICATION": "2", "NOTELLM_QDRANT_WRITE_CONSISTENCY": "3"}, "no write could be acknowledged"),
        ({"NOTELLM_MAX_QUEUE_TOKENS": "64"}, "no batch could ever fill up"),
        ({"NOTELLM_HOST": "0.0.0.0"}, "other machines can reach NOTELLM_HOST=0.0.0.0"),
        ({"NOTELLM_API_KEYS_FILE": "k", "NOTELLM_ALLOW_ANONYMOUS": "true"}, "contradict each other"),
        ({"NOTELLM_CORS_ORIGINS": "*"}, r"NOTELLM_CORS_ORIGINS: \* is not an origin"),
        ({"NOTELLM_REQUESTS_PER_SECOND": "0"}, "NOTELLM_REQUESTS_PER_SECOND"),
    ],
)
def test_a_wrong_variable_is_named(variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match=message):
        load(monkeypatch, **variables)


def test_the_checkpoint_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTELLM_CHECKPOINT", raising=False)
    with pytest.raises(StartupError, match="NOTELLM_CHECKPOINT: Field required"):
        load_settings({})


def test_variables_of_the_test_suite_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, NOTELLM_TEST_QDRANT_URL="http://localhost:6333")


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, NOTELLM_QDRANT_URL="https://q:6333", NOTELLM_QDRANT_API_KEY="s3cret")
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    "variables",
    [
        {"NOTELLM_QDRANT_URL": "https://qdrant.example.org:6333"},
        {"NOTELLM_QDRANT_URL": "http://localhost:6333"},
        {"NOTELLM_QDRANT_URL": "http://127.0.0.1"},
        {"NOTELLM_QDRANT_URL": "http://[::1]:6333/"},
        {"NOTELLM_QDRANT_URL": "http://qdrant:6333", "NOTELLM_QDRANT_PLAIN_API_KEY": "true"},
    ],
)
def test_a_key_for_qdrant_is_accepted_where_nobody_can_read_it(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(monkeypatch, NOTELLM_QDRANT_API_KEY="s3cret", **variables).qdrant_api_key


@pytest.mark.parametrize(
    "variables",
    [
        {"NOTELLM_REMOTE_URL": "http://h:8000", "NOTELLM_REMOTE_API_KEY": "s3cret\n"},
        {"NOTELLM_QDRANT_URL": "http://h:6333", "NOTELLM_QDRANT_API_KEY": "s3cret s3cret"},
        {"NOTELLM_REMOTE_URL": "http://user:s3cret@h:8000"},
        {"NOTELLM_QDRANT_URL": "https://s3cret@h:6333"},
    ],
)
def test_secrets_that_would_be_shown_later_are_refused(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP clients quote headers that they cannot send, and messages quote addresses. Both would show the secret."""
    with pytest.raises(StartupError, match=r"NOTELLM_(REMOTE|QDRANT)_(URL|API_KEY): has a") as caught:
        load(monkeypatch, **variables)
    assert "s3cret" not in str(caught.value)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Secret files of a container; one of them is not for this service."""
    (tmp_path / "notellm_qdrant_api_key").write_text("s3cret\n")
    (tmp_path / "notellm_remote_api_key").write_text("r3mote")
    (tmp_path / "api_keys").write_text("")
    return tmp_path


URLS = {"NOTELLM_QDRANT_URL": "https://q:6333", "NOTELLM_REMOTE_URL": "http://r:8000"}


def test_secrets_come_from_files(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, NOTELLM_SECRETS_DIR=str(secrets), **URLS)
    assert settings.qdrant_api_key
    assert settings.remote_api_key
    assert (settings.qdrant_api_key.get_secret_value(), settings.remote_api_key.get_secret_value()) == ("s3cret", "r3mote")
    assert settings.secrets_dir == secrets


def test_rules_hold_for_secrets_of_files(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match="would cross the network unencrypted"):
        load(monkeypatch, **URLS | {"NOTELLM_SECRETS_DIR": str(secrets), "NOTELLM_QDRANT_URL": "http://q:6333"})
    (secrets / "notellm_qdrant_api_key").write_text("s3cret s3cret")
    with pytest.raises(StartupError, match="NOTELLM_QDRANT_API_KEY: has a character") as caught:
        load(monkeypatch, NOTELLM_SECRETS_DIR=str(secrets), **URLS)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "notellm_qdrant_api_key",
            b" \n",
            r"NOTELLM_QDRANT_API_KEY: .*/notellm_qdrant_api_key is empty: write the key into it",
        ),
        ("notellm_qdrant_api_key", b"s3cret\xff", "notellm_qdrant_api_key is not UTF-8 text"),
        (
            "notellm_qdrant_key",
            b"s3cret",
            "notellm_qdrant_key is not a known secret; did you mean notellm_qdrant_api_key",
        ),
        (
            "NOTELLM_QDRANT_API_KEY",
            b"s3cret",
            "NOTELLM_QDRANT_API_KEY is not a known secret; did you mean notellm_qdrant",
        ),
        ("notellm_port", b"80", "notellm_port is not a known secret"),
    ],
)
def test_a_wrong_file_is_named(name: str, content: bytes, message: str, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / name).write_bytes(content)
    with pytest.raises(StartupError, match=message) as caught:
        load(monkeypatch, NOTELLM_SECRETS_DIR=str(secrets), **URLS)
    assert "s3cret" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match=r"NOTELLM_SECRETS_DIR cannot be read: .*No such file"):
        load(monkeypatch, NOTELLM_SECRETS_DIR=str(secrets / "none"), **URLS)
    file = secrets / "notellm_qdrant_api_key"
    file.unlink()
    file.mkdir()
    with pytest.raises(StartupError, match=r"NOTELLM_QDRANT_API_KEY cannot be read: .*notellm_qdrant_api_key"):
        load(monkeypatch, NOTELLM_SECRETS_DIR=str(secrets), **URLS)


def test_a_secret_is_given_once(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match=r"NOTELLM_QDRANT_API_KEY is set twice, .*: drop one"):
        load(monkeypatch, NOTELLM_SECRETS_DIR=str(secrets), NOTELLM_QDRANT_API_KEY="other", **URLS)


def test_the_documentation_is_up_to_date() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert as_markdown() in page, "run: make docs"


def test_every_setting_is_documented() -> None:
    assert all(field.description for field in Settings.model_fields.values())
