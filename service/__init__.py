"""The online half of NoteLLM: a FastAPI application over one checkpoint and one vector index."""
