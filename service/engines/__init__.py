"""Engines: they run the model."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from service.engines.base import (
        BlockingEngine as BlockingEngine,
        Engine as Engine,
        EngineState as EngineState,
        Generation as Generation,
        GenerationRequest as GenerationRequest,
        QueuePolicy as QueuePolicy,
        Ranking as Ranking,
        RankingRequest as RankingRequest,
    )
    from service.engines.cores import usable_cores as usable_cores
    from service.engines.local import LocalEngine as LocalEngine
    from service.engines.opening import open_engine as open_engine
    from service.engines.threaded import ThreadedEngine as ThreadedEngine
    from service.engines.throughput import Throughput as Throughput
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".base": (
                "BlockingEngine",
                "Engine",
                "EngineState",
                "Generation",
                "GenerationRequest",
                "QueuePolicy",
                "Ranking",
                "RankingRequest",
            ),
            ".cores": ("usable_cores",),
            ".local": ("LocalEngine",),
            ".opening": ("open_engine",),
            ".threaded": ("ThreadedEngine",),
            ".throughput": ("Throughput",),
        },
    )
