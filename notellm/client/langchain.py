"""LangChain's `Embeddings` over a `NoteClient`, for its vector stores and retrievers. It needs the package `langchain-core`."""

import asyncio

from langchain_core.embeddings import Embeddings

from notellm.client.sync_client import NoteClient


class NoteEmbeddings(Embeddings):
    """Embeds texts without storing them.

    Args:
        client: its address, key and deadline are used; long lists are cut as it cuts them.
    """

    def __init__(self, client: NoteClient) -> None:
        self._client = client

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Unit vectors of texts."""
        vectors: list[list[float]] = self._client.encode(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The unit vector of a text. Documents and queries are embedded alike: a query is a note that nobody has written yet."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`, in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`, in a thread."""
        return await asyncio.to_thread(self.embed_query, text)
