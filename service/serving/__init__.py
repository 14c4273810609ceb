"""Loads models, decides which one answers, and migrates from one model to another."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from service.index import ModelVectors as ModelVectors
    from service.serving.migration_status import DEFAULT_SHARE as DEFAULT_SHARE, Phase as Phase
    from service.serving.overlap import neighbour_overlap as neighbour_overlap
    from service.serving.runtime import Runtime as Runtime, open_service as open_service
    from service.serving.served import ServedModel as ServedModel
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".migration_status": ("DEFAULT_SHARE", "Phase"),
            ".overlap": ("neighbour_overlap",),
            ".runtime": ("Runtime", "open_service"),
            ".served": ("ServedModel",),
            "service.index": ("ModelVectors",),
        },
    )
