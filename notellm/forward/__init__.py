"""The packed forward pass: prompts without padding after a cached prefix.

Shape letters in every docstring and comment of this package:

    T  tokens of a pack
    S  sequences of a pack
    P  tokens of the shared prefix
    Q  query tokens: all T tokens, or in the last layer only the last token of each of the S sequences
    H  attention heads
    K  key-value heads
    D  head size
    E  hidden size
"""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from notellm.forward.attention import PackedAttention as PackedAttention, Prefix as Prefix
    from notellm.forward.branches import read_prefixes as read_prefixes
    from notellm.forward.graphs import GraphedForward as GraphedForward
    from notellm.forward.kernels import rms_norm as rms_norm, rotate_ as rotate_
    from notellm.forward.lanes import Lanes as Lanes
    from notellm.forward.layers import Layers as Layers, TransformersLayers as TransformersLayers
    from notellm.forward.packed import (
        PackedForward as PackedForward,
        log_probabilities as log_probabilities,
        read_prefix as read_prefix,
    )
    from notellm.forward.packing import Pack as Pack, Run as Run, even_batches as even_batches, token_batches as token_batches
    from notellm.forward.plain import PlainForward as PlainForward
    from notellm.forward.trees import tree_states as tree_states
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".attention": ("PackedAttention", "Prefix"),
            ".branches": ("read_prefixes",),
            ".graphs": ("GraphedForward",),
            ".kernels": ("rms_norm", "rotate_"),
            ".lanes": ("Lanes",),
            ".layers": ("Layers", "TransformersLayers"),
            ".packed": ("PackedForward", "log_probabilities", "read_prefix"),
            ".packing": ("Pack", "Run", "even_batches", "token_batches"),
            ".plain": ("PlainForward",),
            ".trees": ("tree_states",),
        },
    )
