"""Makes docs/configuration.md from the fields of `Settings`: `python -m service.settings.page > docs/configuration.md`."""

import sys

from service.settings.settings import PREFIX, Settings

HEAD = """# Configuration

`notellm-serve` reads its settings from environment variables. It refuses unknown `NOTELLM_*` variables, so you notice a misspelt one.
API keys that the service sends can come from files: set `NOTELLM_SECRETS_DIR`, and see [security](security.md#secrets-in-files).
OpenTelemetry's own variables configure traces: see [operations](operations.md#traces).
This page is generated from `service/settings/settings.py`: run `make docs` after a change.

"""


def as_markdown() -> str:
    """Returns the table, one row per setting."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else f"`{field.default}`" if field.default is not None else "not set"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(HEAD + as_markdown())
