"""docs/configuration.md, made from the fields of `Settings`: `python -m service.settings.page > docs/configuration.md`."""

import sys

from service.settings.settings import PREFIX, Settings

HEAD = """# Configuration

`notellm-serve` reads environment variables. An unknown `NOTELLM_*` variable is refused, so a misspelt one is noticed.
Keys may come from files instead: `NOTELLM_SECRETS_DIR`, see [security](security.md#secrets-in-files).
Traces are set by OpenTelemetry's own variables: [operations](operations.md#traces).
This page is made from `service/settings/settings.py`: run `make docs` after a change.

"""


def as_markdown() -> str:
    """The table, a row a setting."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else f"`{field.default}`" if field.default is not None else "not set"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(HEAD + as_markdown())
