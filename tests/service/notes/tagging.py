"""Notes with hashtags, and what a checkpoint of them knows."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx

from notellm import Checkpoint, Note, PromptSettings
from notellm.evidence import EvidenceWeights
from tests.conftest import CATEGORIES
from tests.service.calls import Json
from training.model import InitialCheckpoint

Open = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
# The vocabulary, by frequency: each has one note more than the next.
KNOWN = ["King Glory", "coffee", "cold-brew", "beer", "hops"]
# Only the share of the neighbours' votes counts.
VOTES = EvidenceWeights(temperature=0.1, intercept=-2.0, weights=(0, 0, 0, 4.0, 0, 0))
STORED: list[Json] = [
    {"id": "a", "title": "Noisy qubits", "hashtags": ["qubits", "physics"]},
    {"id": "b", "title": "Noisy qubits!", "hashtags": ["qubits", "beer"]},
    {"id": "c", "title": "Cold brew at home", "content": "Grind finer. " * 5, "hashtags": ["coffee"]},
]
ASKED: Json = {"title": "Noisy qubits", "content": ""}


def make_knowing(path: Path, base: Path, prompt: PromptSettings) -> Checkpoint:
    """A checkpoint with a hashtag vocabulary."""
    notes = [
        Note(id=f"{place}-{number}", title=f"note {number} on {tag}", hashtags=(tag,))
        for place, tag in enumerate(KNOWN)
        for number in range(len(KNOWN) - place)
    ]
    return InitialCheckpoint(
        base=str(base), output=path, name="knowing", categories=CATEGORIES, notes=notes, prompt=prompt
    ).make()


async def tagged(client: httpx.AsyncClient, notes: list[Json], **options: object) -> list[Any]:
    """The suggestions for each note."""
    response = await client.post("/notes/hashtags", json={"notes": notes, **options})
    assert response.status_code == 200, response.text
    suggestions: list[Any] = response.json()["notes"]
    return suggestions
