"""`notellm-serve optimize`."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
from typer.testing import CliRunner, Result

from notellm import Checkpoint
from notellm.checkpoint import vector_name_of
from service.cli import app
from service.index import EdgeIndex
from tests.service.index.notes import indexed_notes


def test_the_command(tiny_path: Path, tmp_path: Path) -> None:
    checkpoint, directory = Checkpoint.open(tiny_path, verify="size"), tmp_path / "index"
    settings = {"NOTELLM_CHECKPOINT": str(tiny_path), "NOTELLM_DATA_DIR": str(tmp_path)}

    def run(**more: str) -> Result:
        return CliRunner().invoke(app, ["optimize", "--threads", "1"], env=settings | more)

    assert "there is no index in" in str(run().exception)
    index = EdgeIndex.open(directory, vector_name=vector_name_of(checkpoint), dimensions=checkpoint.manifest.dimensions)
    vectors = np.eye(checkpoint.manifest.dimensions, dtype=np.float32)
    notes = [replace(note, vector=vector) for note, vector in zip(indexed_notes(len(vectors)), vectors, strict=True)]
    asyncio.run(index.upsert(notes))
    assert "another process has the index" in str(run().exception)
    asyncio.run(index.close())
    assert "builds its own graph" in str(run(NOTELLM_QDRANT_URL="http://q").exception)
    outcome = run()
    assert outcome.exit_code == 0, outcome.exception
    assert f"{len(notes)} notes, {len(notes)} of them in the graph" in outcome.output
