"""`read_secrets`: reads secret settings from the directory NOTELLM_SECRETS_DIR, one file per setting."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from pydantic import SecretStr

from service.errors import StartupError
from service.settings.settings import PREFIX, Settings

# Files have the names of the variables in lower case, the usual form of secret names in compose files and Kubernetes.
_FILES = {
    (PREFIX + name).lower(): name for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None
}


def read_secrets(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Reads the secrets that have a file; returns them by the name of their setting. Ignores files of other programs.

    Raises:
        StartupError: the directory or a file cannot be read, a file is empty or misnamed, or its variable is set as well.
    """
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError as error:
        raise StartupError(f"{PREFIX}SECRETS_DIR cannot be read: {error}") from error
    if unknown := [name for name in names if name.lower().startswith(PREFIX.lower()) and name not in _FILES]:
        hint = did_you_mean(unknown[0].lower(), _FILES)
        raise StartupError(f"{directory / unknown[0]} is not a known secret{hint} (see docs/configuration.md)")
    return {_FILES[name]: _read(directory / name, environment) for name in names if name in _FILES}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a question with the known name that is most like a misspelt one; an empty text if none is like it."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _read(file: Path, environment: Mapping[str, str]) -> str:
    variable = file.name.upper()
    if environment.get(variable):
        raise StartupError(f"{variable} is set twice, in the environment and in {file}: drop one")
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StartupError(f"{variable} cannot be read: {error}") from error
    except UnicodeDecodeError:
        raise StartupError(f"{variable}: {file} is not UTF-8 text") from None
    if not secret:
        raise StartupError(f"{variable}: {file} is empty: write the key into it, or remove it")
    return secret
