"""What the tests of this folder share: two notes, and files of them."""

import gzip
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from notellm.note_files import Row, open_rows, read_note

A, B = {"id": "a1", "title": "Cold brew"}, {"id": "a2", "title": "Espresso"}
CSV = "id,title\na1,Cold brew\na2,Espresso\n"
LINES = json.dumps(A) + "\n" + json.dumps(B) + "\n"


def read(path: Path) -> list[Row]:
    with closing(open_rows(path)) as rows:
        return list(rows)


def notes(path: Path) -> list[dict[str, Any]]:
    return [read_note(row).model_dump(exclude_defaults=True) for row in read(path)]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def parquet(path: Path, table: dict[str, Any] | pa.Table) -> Path:
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)
    return path
