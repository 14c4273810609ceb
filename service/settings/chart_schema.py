"""Makes a JSON schema from `Settings` for the settings that the Helm chart passes on, and writes it into the chart's schema.

python -m service.settings.chart_schema deploy/helm/notellm/values.schema.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from service.settings.settings import PREFIX, Settings

# Other values of the chart determine these settings, so that they fit its ports, probes, volumes and secrets.
DECIDED = frozenset({
    "checkpoint", "engine", "vllm_tensor_parallel", "host", "port", "api_keys_file", "allow_anonymous", "shutdown_seconds",
    "canary_seconds", "data_dir", "hashtag_blocklist", "qdrant_url", "qdrant_api_key", "qdrant_plain_api_key", "qdrant_ca_file",
    "qdrant_grpc_port", "qdrant_timeout_seconds", "qdrant_collection", "secrets_dir",
})  # fmt: skip
# Prefix of the settings of an engine that the chart does not offer.
_REMOTE = "remote_"
# Types that cannot be plain values: a file must be mounted, and a secret must not be in the chart's values.
_NO_VALUES = {"path", "password"}


def settings_schema() -> dict[str, Any]:
    """Returns the JSON schema of each variable that the chart's `settings` may have."""
    fields = Settings.model_json_schema()["properties"]
    schemas = {name: _plain(schema) for name, schema in fields.items() if name not in DECIDED and not name.startswith(_REMOTE)}
    return {PREFIX + name.upper(): schema for name, schema in schemas.items() if schema.get("format") not in _NO_VALUES}


def with_settings(schema: str) -> str:
    """Returns the text of the chart's schema with these settings inserted."""
    document = json.loads(schema)
    document["properties"]["settings"]["properties"] = settings_schema()
    return json.dumps(document, indent=2) + "\n"


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Removes title, description and default, and the alternative null: the chart omits a setting that is not set."""
    (kind,) = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return {name: value for name, value in kind.items() if name not in {"title", "description", "default"}}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_settings(path.read_text(encoding="utf-8")), encoding="utf-8")
