"""The key file: its allowed content, the messages about invalid content, and that the service reads it again."""

import logging
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.errors import StartupError
from service.observability import Metrics
from service.security.key_file import KeyFile
from service.security.keys import KeyRing, Rates, Scope, hash_key, new_key, read_keys
from tests.clock import until

ZEROS = "0" * 64
RIGHT = f'[feed]\nsha256 = ["{ZEROS}"]\nscopes = ["read"]\n'


def entry(name: str, *keys: str, scopes: str = '"read"', more: str = "") -> str:
    hashes = ", ".join(f'"{hash_key(key)}"' for key in keys)
    return f"[{name}]\nsha256 = [{hashes}]\nscopes = [{scopes}]\n{more}\n"


def test_a_client_is_known_by_any_of_its_keys() -> None:
    old, new, other = new_key(), new_key(), new_key()
    ring = KeyRing.parse(entry("feed", old, new, more="tokens_per_second = 5") + entry("job", other, scopes='"write", "admin"'))
    feed, job = ring.find(old), ring.find(other)
    assert feed is not None
    assert job is not None
    assert ring.find(new) == feed
    assert (feed.name, feed.scopes, feed.rates) == ("feed", frozenset({Scope.READ}), Rates(None, 5))
    assert (job.name, job.scopes) == ("job", frozenset({Scope.WRITE, Scope.ADMIN}))


def test_what_is_no_key_is_not_known() -> None:
    key = new_key()
    ring = KeyRing.parse(entry("feed", key))
    for wrong in ("", key[:-1], key + "x", key.upper(), hash_key(key), "ключ", "\udcff"):
        assert ring.find(wrong) is None
    assert not any(ring.find(new_key()) for _ in range(200))


def test_keys_are_long_and_differ() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("nlm_") and len(key) == 47 for key in keys)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has no key: make one with `notellm-serve keygen"),
        ("[feed", "is not TOML"),
        ("a = " + "[" * 10_000, "is not TOML (arrays are nested too deeply)"),
        ("feed = 1", "feed: Input should be"),
        ('[feed]\nscopes = ["read"]', "feed.sha256: Field required"),
        (f'[feed]\nsha256 = ["{ZEROS}"]', "feed.scopes: Field required"),
        (f'[feed]\nsha256 = ["{ZEROS}"]\nscopes = []', "feed.scopes"),
        (RIGHT.replace('"read"', '"root"'), "feed.scopes.0: Input should be 'read', 'write', 'admin' or 'metrics'"),
        (RIGHT.replace(ZEROS, ZEROS[1:]), "feed.sha256.0"),
        (RIGHT + "colour = 1", "feed.colour: Extra inputs"),
        (RIGHT + "requests_per_second = 0", "feed.requests_per_second"),
        (RIGHT + "tokens_per_second = nan", "feed.tokens_per_second"),
        (RIGHT + RIGHT.replace("feed", "job"), "feed and job have the same key"),
        (RIGHT.replace("feed", '"a b"'), "the name of a client"),
    ],
)
def test_what_is_wrong_is_said(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        KeyRing.parse(text)


@pytest.mark.parametrize(
    "text",
    ["{key}", '{key} = "read"', '[feed]\nsha256 = ["{key}"]\nscopes = ["read"]', RIGHT + '{key} = "x"', RIGHT + 'key = "{key}"',
     RIGHT.replace('"read"', '"{key}"'), RIGHT.replace("feed", '"{key} "'), '[feed]\nsha256 = "{key}"', "[feed]\nsha256 = {key}"],
)  # fmt: skip
def test_a_key_in_the_wrong_place_is_not_repeated(text: str, tmp_path: Path) -> None:
    key = new_key()
    file = tmp_path / "keys.toml"
    file.write_text(text.replace("{key}", key), encoding="utf-8")
    with pytest.raises(StartupError) as caught:
        read_keys(file)
    assert "keys.toml" in str(caught.value)
    assert key[4:] not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff", b"#" * (2**20 + 1), None])
def test_a_file_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartupError, match="NOTELLM_API_KEYS_FILE"):
        read_keys(file)


def sample(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name)


async def test_keys_change_while_the_service_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.security.key_file.SECONDS_BETWEEN_READS", 0.02)
    old, new, metrics, file = new_key(), new_key(), Metrics(), tmp_path / "keys.toml"
    file.write_text(entry("feed", old))
    async with KeyFile.open(file, metrics) as keys:
        assert keys.ring.find(old)
        assert sample(metrics, "notellm_api_keys") == 1
        file.write_text(entry("feed", old, new))
        await until(lambda: keys.ring.find(new) is not None)
        assert keys.ring.find(old)
        assert sample(metrics, "notellm_api_keys") == 2
        # Kubernetes changes a mounted secret in the same way: another file takes its place.
        (tmp_path / "next").write_text(entry("feed", new))
        (tmp_path / "next").replace(file)
        await until(lambda: keys.ring.find(old) is None)
        assert keys.ring.find(new)


@pytest.mark.parametrize("broken", ["", "[feed", None])
async def test_a_file_that_became_wrong_changes_nothing(
    broken: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, metrics, file = new_key(), Metrics(), tmp_path / "keys.toml"
    file.write_text(entry("feed", key))
    async with KeyFile.open(file, metrics) as keys:
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        for _ in range(3):
            await keys.refresh()
        assert keys.ring.find(key)
        assert sample(metrics, "notellm_api_keys_stale") == 1
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert ["the previous keys stay in use" in record.message for record in errors] == [True]
        file.write_text(entry("feed", key))
        await keys.refresh()
        assert sample(metrics, "notellm_api_keys_stale") == 0


async def test_the_watch_survives_what_nobody_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.security.key_file.SECONDS_BETWEEN_READS", 0.02)
    old, new, metrics, file = new_key(), new_key(), Metrics(), tmp_path / "keys.toml"
    file.write_text(entry("feed", old))
    async with KeyFile.open(file, metrics) as keys:
        with monkeypatch.context() as patch:
            patch.setattr("service.security.key_file.read_keys", _no_thread)
            await until(lambda: sample(metrics, "notellm_api_keys_stale") == 1)
        assert keys.ring.find(old)
        assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]
        file.write_text(entry("feed", new))
        await until(lambda: keys.ring.find(old) is None)
        assert sample(metrics, "notellm_api_keys_stale") == 0


def _no_thread(_path: Path) -> None:
    raise RuntimeError("can't start new thread")


def test_keygen_shows_a_key_once_and_writes_its_hash(tmp_path: Path) -> None:
    arguments = ["keygen", "feed.v2", "--scope", "read", "--scope", "write", "--tokens-per-second", "2000000"]
    first, second = (CliRunner().invoke(app, [*args]) for args in (arguments, ["keygen", "job", "--scope", "admin"]))
    assert (first.exit_code, second.exit_code) == (0, 0)
    file = tmp_path / "keys.toml"
    file.write_text("# keys of the platform" + first.stdout + second.stdout)
    _, ring = read_keys(file)
    key = first.stderr.split()[-1]
    found = ring.find(key)
    assert found is not None
    assert (found.name, found.scopes, found.rates) == ("feed.v2", frozenset({Scope.READ, Scope.WRITE}), Rates(None, 2e6))
    assert key not in first.stdout
    assert len(ring) == 2


@pytest.mark.parametrize("arguments", [["a b", "--scope", "read"], ["feed"], ["feed", "--scope", "root"]])
def test_keygen_refuses_what_the_file_would_not_take(arguments: list[str]) -> None:
    outcome = CliRunner().invoke(app, ["keygen", *arguments])
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
