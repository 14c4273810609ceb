"""`load_settings`: reads the settings from the environment and from secret files, or reports in one line what is wrong."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.errors import StartupError
from service.settings.secret_files import did_you_mean, read_secrets
from service.settings.settings import PREFIX, Settings

# Prefix of variables for the test suite, which the service ignores.
_FOREIGN_PREFIX = "NOTELLM_TEST_"
# API key for the commands that are clients of a running service; the service ignores it.
CLIENT_KEY = "NOTELLM_API_KEY"


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Loads the settings of this process.

    Raises:
        StartupError: a variable or secret file is unknown, missing or invalid; the message names it and says what is allowed.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(environment):
        if name.startswith(PREFIX) and not name.startswith(_FOREIGN_PREFIX) and name not in {*known, CLIENT_KEY}:
            raise StartupError(f"{name} is not a setting{did_you_mean(name, known)} (see docs/configuration.md)")
    directory = environment.get(f"{PREFIX}SECRETS_DIR")
    secrets: dict[str, Any] = read_secrets(Path(directory), environment) if directory else {}
    try:
        return Settings(**secrets)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            variable = PREFIX + "_".join(map(str, item["loc"])).upper() if item["loc"] else "settings"
            problems.append(f"{variable}: {item['msg'].removeprefix('Value error, ')}")
        raise StartupError("; ".join(problems) + ". See docs/configuration.md") from error
