"""API keys: `KeyRing` knows them by their hashes. A TOML file lists them, one table per client.

    [feed]
    sha256 = ["8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92"]
    scopes = ["read"]
    requests_per_second = 50

A key is 256 random bits, so nobody can find it from its plain SHA-256 hash by guessing. Slow hashes are for passwords, which can
be guessed; here they would make every request as slow as they are meant to make an attacker.
"""

import hmac
import secrets
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from service.errors import StartupError
from service.settings import MIB

# Lets scanners for leaked secrets recognise a key.
PREFIX = "nlm_"
MAX_FILE_BYTES = MIB


class Scope(StrEnum):
    """What a key may do. No scope includes another: `write` does not include `read`."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    METRICS = "metrics"


@dataclass(frozen=True)
class Rates:
    """Rate limits of a client; None means no limit.

    Attributes:
        requests_per_second: requests of any kind, per second.
        tokens_per_second: prompt tokens per second.
    """

    requests_per_second: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class ApiKey:
    """An accepted key: the client that it belongs to, and what that client may do."""

    name: str
    scopes: frozenset[Scope]
    rates: Rates


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Rate = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: list[Hash] = Field(min_length=1)
    scopes: frozenset[Scope] = Field(min_length=1)
    requests_per_second: Rate | None = None
    tokens_per_second: Rate | None = None


_FILE = TypeAdapter(dict[Name, _Entry])


def new_key() -> str:
    """Makes a new random key."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """Returns the SHA-256 of a key as hexadecimal digits: the only form in which a key is stored."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class KeyRing:
    """The keys that are accepted.

    Args:
        hashed: pairs of a hash and its key. A client may have several, so that it can get a new key before the old one is revoked.
    """

    def __init__(self, hashed: Iterable[tuple[str, ApiKey]]) -> None:
        self._hashed = [(digest.encode(), key) for digest, key in hashed]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the content of a key file.

        Raises:
            ValueError: the content is invalid. The message says what is wrong and where, but quotes nothing: an operator may have
                put a key there by mistake, instead of its hash.
        """
        try:
            entries = _FILE.validate_python(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            where = str(error).rpartition("(")[2].rstrip(")")
            raise ValueError(f"is not TOML ({where})") from None
        except RecursionError:
            raise ValueError("is not TOML (arrays are nested too deeply)") from None
        except ValidationError as error:
            raise ValueError(_complaint(error)) from None
        owners: dict[str, str] = {}
        for name, entry in entries.items():
            for digest in entry.sha256:
                if digest in owners:
                    raise ValueError(f"{owners[digest]} and {name} have the same key")
                owners[digest] = name
        if not owners:
            raise ValueError("has no key: make one with `notellm-serve keygen NAME --scope read --scope write`")
        keys = {name: _api_key(name, entry) for name, entry in entries.items()}
        return cls((digest, keys[name]) for digest, name in owners.items())

    def __len__(self) -> int:
        return len(self._hashed)

    def find(self, key: str) -> ApiKey | None:
        """Returns the entry of a key, or None if the key is unknown. Takes the same time for every key, known or not."""
        digest, found = hash_key(key).encode(), None
        for known, owner in self._hashed:
            if hmac.compare_digest(known, digest):
                found = owner
        return found


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    name, *place = first["loc"]
    if place[:1] == ["[key]"]:  # the name itself is invalid; it may be a key put there by mistake
        return f"the name of a client: {first['msg']}"
    shown = ("…" if str(part).startswith(PREFIX) else str(part) for part in (name, *place))
    return f"{'.'.join(shown)}: {first['msg']}"


def _api_key(name: str, entry: _Entry) -> ApiKey:
    return ApiKey(name, entry.scopes, Rates(entry.requests_per_second, entry.tokens_per_second))


def read_keys(path: Path) -> tuple[bytes, KeyRing]:
    """Reads a key file; returns its content and the keys in it.

    Raises:
        StartupError: the file cannot be read or is invalid.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        return content, KeyRing.parse(_decoded(content))
    except OSError as error:
        raise StartupError(f"NOTELLM_API_KEYS_FILE: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StartupError(f"NOTELLM_API_KEYS_FILE: {path}: {error}. See docs/security.md") from None


def _decoded(content: bytes) -> str:
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"has more than {MAX_FILE_BYTES:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
