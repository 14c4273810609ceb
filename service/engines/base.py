"""`Engine`: what runs the model. It says how its work is to be queued, and knows token ids and vectors, not notes or HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from notellm.hashtags import GeneratedPiece
from notellm.ranking import BEAMS, RankedChoice
from notellm.trie import TokenTrie


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt to continue, greedily.

    Attributes:
        prompt: token ids.
        pattern: regular expression that the continuation fulfils, with Unicode classes and without look-around.
        max_new_tokens: where to stop at the latest.
        bare_spaces: false forbids tokens that are a space only. English words bring their space along, and an untrained
            model that starts with a bare one is about to count; in other scripts the bare one is often the only way.
    """

    prompt: tuple[int, ...]
    pattern: str
    max_new_tokens: int
    bare_spaces: bool = True

    @property
    def tokens(self) -> int:
        """What a queue charges for it."""
        return len(self.prompt) + self.max_new_tokens


@dataclass(frozen=True)
class Generation:
    """A continuation.

    Attributes:
        pieces: the tokens, the end of sequence included. A probability is among the tokens that the pattern allowed.
        finished: false if it was cut off at `max_new_tokens`.
    """

    pieces: tuple[GeneratedPiece, ...]
    finished: bool

    @property
    def text(self) -> str:
        """The whole continuation."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True)
class RankingRequest:
    """A prompt and what may follow it.

    Attributes:
        prompt: token ids.
        choices: the continuations to choose from.
        count: how many of them are wanted.
        exclude: those of them that are not wanted.
    """

    prompt: tuple[int, ...]
    choices: TokenTrie
    count: int
    exclude: frozenset[tuple[int, ...]] = frozenset()

    @property
    def tokens(self) -> int:
        """What a queue charges for it: an estimate, since long choices cost more than their share."""
        return len(self.prompt) + round(BEAMS * self.choices.mean_length)


class BlockingEngine(Protocol):
    """Runs one checkpoint in the calling thread. All methods may run at the same time."""

    name: str

    def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Unit vectors of embedding prompts, (prompts, dimensions), in their order."""
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """The continuations, in the order of the requests."""
        ...

    def rank(self, requests: Sequence[RankingRequest]) -> list[list[RankedChoice]]:
        """The likeliest choices of each request, best first."""
        ...


@dataclass(frozen=True)
class QueuePolicy:
    """How an engine wants its work queued. Every engine embeds one batch after another, beside all other work.

    Attributes:
        generation_lanes: calls of `generate` that may run at the same time.
        ranking_lanes: calls of `rank` that may run at the same time, beside those of `generate`; None where rankings share the
            lanes of generation, so that the two take turns.
        merges: whether the engine merges concurrent calls of `generate` itself, so that each call brings one request. If it does
            not, a call brings all requests that wait, up to the operator's limit.
        abandons: whether a cancelled call of `generate` or `rank` frees the engine. If it does not, cancelling gains nothing.
    """

    generation_lanes: int
    ranking_lanes: int | None
    merges: bool
    abandons: bool


@dataclass(frozen=True)
class EngineState:
    """What an engine can tell of itself, for metrics.

    Attributes:
        left_alone: for each server that it asks, by its name in metrics: whether it is left alone after failures.
    """

    left_alone: Mapping[str, bool] = field(default_factory=dict)


class Engine(Protocol):
    """Runs one checkpoint off the event loop.

    Attributes:
        name: in metrics and in `/model`.
        queue_policy: how its work is to be queued.
    """

    name: str
    queue_policy: QueuePolicy

    async def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """See `BlockingEngine.embed`.

        Raises:
            EngineUnavailable: the engine is not there; any method may raise it.
        """
        ...

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """See `BlockingEngine.generate`."""
        ...

    async def rank(self, requests: Sequence[RankingRequest]) -> list[list[RankedChoice]]:
        """See `BlockingEngine.rank`."""
        ...

    def failure(self) -> str | None:
        """Why no work can be done at the moment, for readiness; None if it can."""
        ...

    def state(self) -> EngineState:
        """Of this moment, without asking anybody."""
        ...

    async def close(self) -> None:
        """Ends what the engine has started."""
        ...
