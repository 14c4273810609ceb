"""`Engine`: runs the model. It says how to queue its work. It knows token ids and vectors, but not notes or HTTP."""

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
        pattern: regular expression that the continuation must match, with Unicode classes and without look-around.
        max_new_tokens: maximum length of the continuation.
        bare_spaces: false forbids tokens that are only a space. Tokens of English words include their leading space, and an untrained
            model that starts with a bare space goes on to count numbers. In other scripts, a word often needs a bare space.
    """

    prompt: tuple[int, ...]
    pattern: str
    max_new_tokens: int
    bare_spaces: bool = True

    @property
    def tokens(self) -> int:
        """Number of tokens that a queue charges for the request."""
        return len(self.prompt) + self.max_new_tokens


@dataclass(frozen=True)
class Generation:
    """A continuation.

    Attributes:
        pieces: the tokens, including the end of sequence. Each probability is relative to the tokens that the pattern allowed.
        finished: false if the continuation was cut off at `max_new_tokens`.
    """

    pieces: tuple[GeneratedPiece, ...]
    finished: bool

    @property
    def text(self) -> str:
        """The continuation as one text."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True)
class RankingRequest:
    """A prompt and its possible continuations.

    Attributes:
        prompt: token ids.
        choices: the continuations to choose from.
        count: how many continuations to return.
        exclude: continuations that must not be returned.
        embedding: an embedding prompt whose vector is wanted as well; empty for none. What it shares with `prompt` is computed once.
    """

    prompt: tuple[int, ...]
    choices: TokenTrie
    count: int
    exclude: frozenset[tuple[int, ...]] = frozenset()
    embedding: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Number of tokens that a queue charges for the request. It is an estimate, because long choices cost more than average."""
        shares = self.prompt[: len(self.embedding)] == self.embedding
        beams = min(max(BEAMS, self.count), len(self.choices.sequences))
        return len(self.prompt) + (0 if shares else len(self.embedding)) + round(beams * self.choices.mean_length)


@dataclass(frozen=True)
class Ranking:
    """The answer to a `RankingRequest`.

    Attributes:
        choices: the most probable choices, best first.
        vector: the unit vector of the embedding prompt, (dimensions,); None if there was none.
    """

    choices: list[RankedChoice]
    vector: npt.NDArray[np.float32] | None = None


class BlockingEngine(Protocol):
    """Runs one checkpoint in the calling thread. All methods may run at the same time."""

    name: str

    def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Returns the unit vectors of embedding prompts, (prompts, dimensions), in the order of the prompts."""
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Returns the continuations, in the order of the requests."""
        ...

    def rank(self, requests: Sequence[RankingRequest]) -> list[Ranking]:
        """Returns the most probable choices of each request."""
        ...


@dataclass(frozen=True)
class QueuePolicy:
    """How to queue an engine's work. Every engine embeds one batch after another, at the same time as its other work.

    Attributes:
        generation_lanes: calls of `generate` that may run at the same time.
        ranking_lanes: calls of `rank` that may run at the same time, in addition to those of `generate`; None if rankings share the
            lanes of generation, so that the two take turns.
        merges: whether the engine itself merges concurrent calls of `generate`. If it does, each call contains one request. If it does
            not, a call contains all waiting requests, up to the operator's limits.
        ranks_together: whether `rank` computes its requests together. If it does, a call contains all waiting requests, up to the
            operator's limits. If it does not, each call contains one request.
        abandons: whether a cancelled call of `generate` or `rank` frees the engine. If it does not, cancelling gains nothing.
    """

    generation_lanes: int
    ranking_lanes: int | None
    merges: bool
    ranks_together: bool
    abandons: bool


@dataclass(frozen=True)
class EngineState:
    """The state of an engine for metrics, read without asking a server.

    Attributes:
        left_alone: for each server, by its name in metrics: whether calls are refused at once because the server has failed.
    """

    left_alone: Mapping[str, bool] = field(default_factory=dict)


class Engine(Protocol):
    """Runs one checkpoint off the event loop.

    Attributes:
        name: the engine's name in metrics and in `/model`.
        queue_policy: how to queue the engine's work.
    """

    name: str
    queue_policy: QueuePolicy

    async def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """See `BlockingEngine.embed`.

        Raises:
            EngineUnavailable: the engine is not available; `generate` and `rank` may raise it as well.
        """
        ...

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """See `BlockingEngine.generate`."""
        ...

    async def rank(self, requests: Sequence[RankingRequest]) -> list[Ranking]:
        """See `BlockingEngine.rank`."""
        ...

    def failure(self) -> str | None:
        """Returns the reason why the engine cannot work at the moment, for readiness; None if it can."""
        ...

    def state(self) -> EngineState:
        """Returns the current state, without asking a server."""
        ...

    async def close(self) -> None:
        """Stops everything that the engine has started."""
        ...
