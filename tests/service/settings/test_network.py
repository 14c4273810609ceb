"""Where the service listens. `test_settings.py` tests the rules between settings."""

import pytest
from pydantic import ValidationError

from service.settings.network import NetworkSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("root_path", "notes"),
        ("root_path", "/a b"),
        ("requests_per_second", 0),
        ("tokens_per_second", -1),
        ("shutdown_seconds", -1),
        ("playground", "perhaps"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        NetworkSettings.model_validate({name: value})
    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


def test_by_default_nobody_else_reaches_it_and_there_is_no_playground() -> None:
    settings = NetworkSettings()
    assert (settings.host, settings.port, settings.playground, settings.allow_anonymous) == ("127.0.0.1", 8000, False, False)
