"""`tidy`: a row of a CSV or parquet file as the fields of a note."""

import json
import math
from typing import Any


def tidy(row: dict[str, Any]) -> dict[str, Any]:
    """Without empty cells; hashtags as a list, a version as an integer."""
    kept = {name: value for name, value in row.items() if not _is_empty(value)}
    tags, version = kept.get("hashtags"), kept.get("version")
    if isinstance(tags, str):
        kept["hashtags"] = _hashtags(tags)
    # A column of integers with gaps is often saved as floats.
    if (isinstance(version, str) and version.isdigit()) or (isinstance(version, float) and version.is_integer()):
        kept["version"] = int(version)
    return kept


def _is_empty(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _hashtags(cell: str) -> list[Any]:
    if cell.startswith("[") and cell.endswith("]"):
        try:
            return list(json.loads(cell))
        except ValueError:
            pass  # a name in brackets
    return cell.split("|")
