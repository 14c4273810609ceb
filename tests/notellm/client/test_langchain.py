"""`NoteEmbeddings` in LangChain's own vector store, in the environment that has LangChain."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from harness.processes import ROOT
from tests.notellm.client.service import Answer, Request, serving

pytestmark = pytest.mark.needs("clients")
PROGRAM = """
import asyncio, json, sys
from langchain_core.vectorstores import InMemoryVectorStore
from notellm.client import NoteClient
from notellm.client.langchain import NoteEmbeddings

embeddings = NoteEmbeddings(NoteClient(sys.argv[1]))
store = InMemoryVectorStore(embeddings)
store.add_texts(["left"] * 70 + ["right"])
print(json.dumps([
    [one.page_content for one in store.similarity_search("right", k=1)],
    embeddings.embed_documents([]),
    asyncio.run(embeddings.aembed_query("left")),
    asyncio.run(embeddings.aembed_documents(["left", "right"])),
]))
"""
LEFT, RIGHT = "AACAPwAAAAA=", "AAAAAAAAgD8="  # (1, 0) and (0, 1)


def vectors(request: Request) -> Answer:
    return 200, {}, {"data": [{"embedding": LEFT if text == "left" else RIGHT} for text in request.body["input"]]}


async def test_a_vector_store_finds_what_is_near() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", "LANGSMITH_TRACING": "false"}
    async with serving(vectors) as server:
        command: list[str | Path] = [ROOT / ".venv-clients" / "bin" / "python", "-c", PROGRAM, server.url]
        done = await asyncio.to_thread(
            lambda: subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        )
    assert done.returncode == 0, done.stderr
    found, none, query, documents = json.loads(done.stdout)
    assert (found, none, query, documents) == (["right"], [], [1.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    # Seventy-one texts are two requests.
    assert sorted(len(request.body["input"]) for request in server.requests) == [1, 1, 2, 7, 64]
