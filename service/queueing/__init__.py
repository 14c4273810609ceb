"""Queues in front of the model: the order of waiting work, and the refusal of work for which there is no room."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from service.queueing.batcher import Batcher as Batcher
    from service.queueing.engine_queues import EngineQueues as EngineQueues, Ids as Ids, open_queues as open_queues
    from service.queueing.search_limit import SearchLimit as SearchLimit
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".batcher": ("Batcher",),
            ".engine_queues": ("EngineQueues", "Ids", "open_queues"),
            ".search_limit": ("SearchLimit",),
        },
    )
