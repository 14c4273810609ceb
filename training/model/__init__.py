"""The model to train: base model, projection, adapters and losses."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from training.model.behaviour import BehaviourFit as BehaviourFit, Head as Head
    from training.model.building import Built as Built, build as build, merged as merged, refit as refit
    from training.model.initialize import (
        EMB_TOKEN as EMB_TOKEN,
        InitialCheckpoint as InitialCheckpoint,
        add_tokens as add_tokens,
        base_name as base_name,
        linear as linear,
        load_base as load_base,
    )
    from training.model.losses import gather as gather, global_count as global_count, total_loss as total_loss
    from training.model.model import CachedGradients as CachedGradients, Losses as Losses, TrainingModel as TrainingModel
    from training.model.sharding import shard as shard
    from training.model.states import for_inference as for_inference, state_encoder as state_encoder
    from training.model.token_terms import token_classes as token_classes
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".behaviour": ("BehaviourFit", "Head"),
            ".building": ("Built", "build", "merged", "refit"),
            ".initialize": ("EMB_TOKEN", "InitialCheckpoint", "add_tokens", "base_name", "linear", "load_base"),
            ".losses": ("gather", "global_count", "total_loss"),
            ".model": ("CachedGradients", "Losses", "TrainingModel"),
            ".sharding": ("shard",),
            ".states": ("for_inference", "state_encoder"),
            ".token_terms": ("token_classes",),
        },
    )
