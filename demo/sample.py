"""A few of the demo's notes, for benchmarks."""

from demo.checkpoint import NOTES
from notellm.note import Note
from training.data import read_notes


def sample_notes(per_site: int) -> list[Note]:
    """`per_site` notes from each site, spread over its history. Notes of different sites alternate."""
    sites: dict[str, list[Note]] = {}
    for note in read_notes(NOTES):
        sites.setdefault(note.category or "", []).append(note)
    spread = [notes[:: len(notes) // per_site][:per_site] for notes in sites.values()]
    return [note for turn in zip(*spread, strict=True) for note in turn]
