"""`tidy`: turns a row of a CSV or parquet file into the fields of a note."""

import json
import math
import re
from typing import Any

# A column of integers with gaps is often saved as floats. A version has at most 16 digits; `int` fails on thousands of digits.
_INTEGER = re.compile(r"0*(\d{1,16})(?:\.0+)?")


def tidy(row: dict[str, Any]) -> dict[str, Any]:
    """The row without empty cells, with hashtags as a list and the version as an integer.

    Values that cannot be converted stay as they are, for `Note` to refuse.
    """
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
            pass  # a hashtag in brackets
    return cell.split("|")
