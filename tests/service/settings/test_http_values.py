"""Addresses and keys that would be shown to others later."""

import pytest
from pydantic import SecretStr

from service.settings.http_values import refuse_credentials, refuse_unsendable


@pytest.mark.parametrize("url", [None, "http://h:8000", "https://h/a@b"])
def test_addresses_without_credentials(url: str | None) -> None:
    assert refuse_credentials(url) == url


@pytest.mark.parametrize("url", ["http://user:s3cret@h:8000", "https://s3cret@h"])
def test_credentials_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="has a name or password in it") as caught:
        refuse_credentials(url)
    assert "s3cret" not in str(caught.value)


def test_keys_that_a_header_can_carry() -> None:
    assert refuse_unsendable(None) is None
    assert refuse_unsendable(key := SecretStr("s3cret!~")) is key


@pytest.mark.parametrize("key", ["s3cret\n", "s3 cret", "s3crét", "\x7fs3cret"])
def test_other_keys_are_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="no HTTP header can carry") as caught:
        refuse_unsendable(SecretStr(key))
    assert "3cr" not in str(caught.value)
