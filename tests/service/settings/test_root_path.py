"""Which prefixes a proxy may offer the service under."""

from collections.abc import Callable

import pytest

from service.errors import StartupError
from service.http import create_app
from service.serving import Runtime
from service.settings import Settings
from service.settings.root_path import OWN_PATHS, clean_root_path
from tests.service.settings.test_settings import load


@pytest.mark.parametrize(
    ("written", "expected"),
    [("", ""), ("/", ""), ("/notellm", "/notellm"), ("/notellm/", "/notellm"), ("/api/v1/notes", "/api/v1/notes"),
     ("/notes-api", "/notes-api"), ("/~team/x.y", "/~team/x.y")],
)  # fmt: skip
def test_a_prefix(written: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert clean_root_path(written) == expected
    assert load(monkeypatch, NOTELLM_ROOT_PATH=written).root_path == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [("/v1", "/v1 begins the service's own paths"), ("/notes/", "/notes begins"), ("/docs/x", "/docs begins"),
     ("/a/../b", "has a part"), ("/./a", "has a part"), ("notellm", "should match pattern"), ("//a", "should match pattern"),
     ("https://host/notellm", "should match pattern"), ("/a b", "should match pattern"), ("/a?b", "should match pattern")],
)  # fmt: skip
def test_what_is_no_prefix(written: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match=f"NOTELLM_ROOT_PATH: .*{message}"):
        load(monkeypatch, NOTELLM_ROOT_PATH=written)


async def test_the_service_has_no_other_paths(runtime: Runtime, settings_for: Callable[..., Settings]) -> None:
    paths = [route.path_format for route in create_app(runtime, settings_for(playground=True)).routes]  # type: ignore[attr-defined]
    assert {path.split("/")[1] for path in paths} - {""} == OWN_PATHS
