"""`tidy`: turns a row of a CSV or parquet file into the fields of a note."""

import json
import math
import re
from decimal import Decimal
from typing import Any
from uuid import UUID

# A column of integers with gaps is often saved as floats. A version has at most 16 digits; `int` fails on thousands of digits.
_INTEGER = re.compile(r"0*(\d{1,16})(?:\.0+)?")
_TEXTS = ("id", "title", "content", "category")


def tidy(row: dict[str, Any]) -> dict[str, Any]:
    """The row without empty cells, with hashtags as a list, the version as an integer, and whole numbers in columns of text as text.

    Values that cannot be converted stay as they are, for `Note` to refuse.
    """
    kept = {name: value for name, value in row.items() if not _is_empty(value)}
    kept |= {name: _text(kept[name]) for name in _TEXTS if name in kept}
    tags, version = kept.get("hashtags"), kept.get("version")
    if isinstance(tags, str):
        kept["hashtags"] = _hashtags(tags)
    if isinstance(version, str) and (digits := _INTEGER.fullmatch(version)):
        kept["version"] = int(digits[1])
    elif isinstance(version, float | Decimal) and _is_whole(version):
        kept["version"] = int(version)
    return kept


def _is_empty(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _text(value: object) -> object:
    """Databases and pandas keep ids, categories and titles such as `1984` as numbers. 5.0 stays: its text may be `5` or `5.0`."""
    if isinstance(value, UUID) or type(value) is int:
        return str(value)
    if isinstance(value, Decimal) and _is_whole(value):
        return str(int(value))
    return value


def _is_whole(value: float | Decimal) -> bool:
    return math.isfinite(value) and value == int(value)


def _hashtags(cell: str) -> list[Any]:
    if cell.startswith("[") and cell.endswith("]"):
        try:
            return list(json.loads(cell))
        except (ValueError, RecursionError):
            pass  # a hashtag in brackets
    return cell.split("|")
