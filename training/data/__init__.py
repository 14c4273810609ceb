"""Notes and behaviour logs: file formats, readers, related pairs and splits."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from training.data.cooccurrences import Cooccurrences as Cooccurrences
    from training.data.dataset import (
        Dataset as Dataset,
        DataSettings as DataSettings,
        PairKind as PairKind,
        load_dataset as load_dataset,
    )
    from training.data.events import open_events as open_events
    from training.data.item_vectors import ItemVectors as ItemVectors
    from training.data.microlens import MicroLens as MicroLens
    from training.data.notes import (
        fingerprint as fingerprint,
        read_notes as read_notes,
        read_valid_notes as read_valid_notes,
        write_notes as write_notes,
    )
    from training.data.pairs import Pair as Pair, PairSettings as PairSettings, select_pairs as select_pairs
    from training.data.splits import SplitName as SplitName
    from training.data.stackexchange import StackExchangeSite as StackExchangeSite
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".cooccurrences": ("Cooccurrences",),
            ".dataset": ("DataSettings", "Dataset", "PairKind", "load_dataset"),
            ".events": ("open_events",),
            ".item_vectors": ("ItemVectors",),
            ".microlens": ("MicroLens",),
            ".notes": ("fingerprint", "read_notes", "read_valid_notes", "write_notes"),
            ".pairs": ("Pair", "PairSettings", "select_pairs"),
            ".splits": ("SplitName",),
            ".stackexchange": ("StackExchangeSite",),
        },
    )
