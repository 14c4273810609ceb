"""`tidy`: a row of a CSV or parquet file as the fields of a note."""

import json
import math
import re
from typing import Any

# A column of integers with gaps is often saved as floats. No more digits than a version can have: `int` refuses thousands of them.
_INTEGER = re.compile(r"0*(\d{1,16})(?:\.0+)?")


def tidy(row: dict[str, Any]) -> dict[str, Any]:
    """Without empty cells; hashtags as a list, a version as an integer. What is neither is left to be refused."""
    kept = {name: value for name, value in row.items() if not _is_empty(value)}
    tags, version = kept.get("hashtags"), kept.get("version")
    if isinstance(tags, str):
        kept["hashtags"] = _hashtags(tags)
    if isinstance(version, str) and (digits := _INTEGER.fullmatch(version)):
        kept["version"] = int(digits[1])
    elif isinstance(version, float) and version.is_integer():
        kept["version"] = int(version)
    return kept


def _is_empty(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _hashtags(cell: str) -> list[Any]:
    if cell.startswith("[") and cell.endswith("]"):
        try:
            return list(json.loads(cell))
        except (ValueError, RecursionError):
            pass  # a name in brackets
    return cell.split("|")
