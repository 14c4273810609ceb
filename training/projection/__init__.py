"""Linear maps to embeddings, solved in closed form from co-occurrences."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from training.projection.closed_form import (
        DEFAULT_RIDGE as DEFAULT_RIDGE,
        RIDGES as RIDGES,
        CooccurrenceWeights as CooccurrenceWeights,
        Features as Features,
        Moments as Moments,
        Solution as Solution,
    )
    from training.projection.text_features import TextFeatures as TextFeatures
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".closed_form": ("DEFAULT_RIDGE", "RIDGES", "CooccurrenceWeights", "Features", "Moments", "Solution"),
            ".text_features": ("TextFeatures",),
        },
    )
