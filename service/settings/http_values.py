"""Checks of values that go into HTTP requests: addresses and keys."""

import re
from urllib.parse import urlsplit

from pydantic import SecretStr


def refuse_credentials(url: str | None) -> str | None:
    """Returns an address that has no name and no password in it.

    Raises:
        ValueError: it has one.
    """
    if url and "@" in urlsplit(url).netloc:
        raise ValueError("has a name or password in it, and addresses are shown in logs: use the setting for the API key")
    return url


def refuse_unsendable(key: SecretStr | None) -> SecretStr | None:
    """Returns a key that fits into a header. HTTP clients complain about others in a message that repeats them.

    Raises:
        ValueError: it has other characters than printable ASCII.
    """
    if key and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
        raise ValueError("has a character that no HTTP header can carry: a line break at its end, a space?")
    return key
