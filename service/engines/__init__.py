"""What runs the model."""

from service.engines.base import Engine, Generation, GenerationRequest, RankingRequest
from service.engines.local import LocalEngine

__all__ = ["Engine", "Generation", "GenerationRequest", "LocalEngine", "RankingRequest"]
