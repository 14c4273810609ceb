"""What runs the model."""

from service.engines.base import BlockingEngine, Engine, EngineState, Generation, GenerationRequest, RankingRequest
from service.engines.local import LocalEngine
from service.engines.threaded import ThreadedEngine

__all__ = [
    "BlockingEngine", "Engine", "EngineState", "Generation", "GenerationRequest", "LocalEngine", "RankingRequest", "ThreadedEngine",
]  # fmt: skip
