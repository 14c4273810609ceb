"""`RemoteEngine`: generates hashtags and categories with a remote `vllm serve`, and embeds with our encoder in this process."""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from notellm.checkpoint import Checkpoint
from notellm.prompt import NotePrompt
from notellm.ranking import ChoiceSearch, Likeliest, RankedChoice
from service.engines.base import EngineState, Generation, GenerationRequest, QueuePolicy, Ranking, RankingRequest
from service.engines.completions import Completion, CompletionsClient, Refused
from service.engines.local import LocalEngine
from service.engines.pieces import FORBID, bare_space_ids, read_generation
from service.engines.threaded import ThreadedEngine, in_passing_thread
from service.errors import StartupError

logger = logging.getLogger(__name__)

# vLLM's limit of token ids per request for log-probabilities.
MOST_ASKED_IDS = 128
# If more tokens may follow than this number of requests can ask for by id, we first ask for this number of likeliest tokens.
MOST_REQUESTS, MOST_ASKED_LIKELIEST = 8, 256
# Largest difference in log-probability that counts as the same model: the server may use half precision, and we use float32.
SAME_MODEL = 0.5
FLAGS = (
    "start it with `vllm serve <checkpoint> --runner generate --max-logprobs 256 --logprobs-mode processed_logprobs "
    "--generation-config vllm`"
)


class RemoteEngine:
    """Generates and ranks with a server. Sends it token ids, not text: text could spell special tokens or be tokenised differently.

    Args:
        checkpoint: the checkpoint that the server serves, too.
        prompt: the checkpoint's prompt builder.
        local: the engine that embeds.
        client: client of the server.
        lanes: number of simultaneous generations, and of rankings beside them.
    """

    name = "remote"

    def __init__(
        self, checkpoint: Checkpoint, prompt: NotePrompt, local: LocalEngine, client: CompletionsClient, *, lanes: int
    ) -> None:
        self.queue_policy = QueuePolicy(
            generation_lanes=lanes, ranking_lanes=lanes, merges=True, ranks_together=False, abandons=True
        )
        self._checkpoint = checkpoint
        self._tokenizer = checkpoint.tokenizer
        self._prompt = prompt
        self._local = local
        self._embedding = ThreadedEngine(local)
        self._client = client
        self._model = ""
        self._forbidden = {str(token): FORBID for token in bare_space_ids(self._tokenizer)}

    async def open(self, model: str | None) -> None:
        """Checks that the server serves the same model and can do what we need.

        Args:
            model: name of the model at the server; None if the server has only one.

        Raises:
            StartupError: the server is unsuitable. The message says what is missing and how to start the server.
            EngineUnavailable: the server does not answer.
        """
        try:
            names = await self._client.models()
            if model is None and len(names) != 1:
                raise StartupError(f"NOTELLM_REMOTE_MODEL: the server has {', '.join(names)}: set it to one of them")
            self._model = model or names[0]
            if self._model not in names:
                raise StartupError(f"NOTELLM_REMOTE_MODEL: the server does not have {model}; it has {', '.join(names)}")
            await self._probe_patterns()
            await self._probe_model()
        except Refused as error:
            raise StartupError(f"NOTELLM_REMOTE_URL: {error}; {FLAGS}") from error

    async def _probe_patterns(self) -> None:
        """Checks token ids, structured outputs, and that log-probabilities take the pattern and the bias into account."""
        likelier, forced = (self._prompt.output(text)[0] for text in ("a", "b"))
        request = GenerationRequest(tuple(self._prompt.embedding_prefix), r" ?(?:a|b)", 4)
        for favoured, other in ((likelier, forced), (forced, likelier)):
            completion = await self._complete(request, logit_bias={str(favoured): 100, str(other): FORBID})
            if completion.ids[0] != favoured or math.exp(completion.log_probabilities[0]) < 1 / 2:
                raise Refused("the server ignores patterns, or its log-probabilities do not take the pattern into account")
        # Check that it returns enough of the likeliest tokens, and tokens by their ids.
        prefix, tokens = list(self._prompt.embedding_prefix), list(range(MOST_ASKED_IDS))
        likeliest = (await self._client.complete(self._model, prefix, 1, logprobs=MOST_ASKED_LIKELIEST)).likeliest[0]
        by_id = (await self._client.complete(self._model, prefix, 1, logprobs=len(tokens), logprob_token_ids=tokens)).likeliest[
            0
        ]
        if len(likeliest) < MOST_ASKED_LIKELIEST or not by_id.keys() >= set(tokens):
            raise Refused("the server does not return all log-probabilities that we ask for")

    async def _probe_model(self) -> None:
        prefix = list(self._prompt.embedding_prefix)
        theirs = (await self._client.complete(self._model, prefix, 1, logprobs=5)).likeliest[0]
        tokens = list(theirs)
        ours = await in_passing_thread(self._local.log_probabilities, prefix, tokens)
        difference = max(abs(own - theirs[token]) for token, own in zip(tokens, ours, strict=True))
        if difference > SAME_MODEL:
            raise StartupError(
                f"NOTELLM_REMOTE_URL: the server's model {self._model} is not the model of {self._checkpoint.path} "
                f"(log-probabilities differ by {difference:.2g}): start the server with that checkpoint"
            )
        logger.info("the server has the same model", extra={"largest_difference": difference, "model": self._model})

    async def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """See `Engine.embed`."""
        return await self._embedding.embed(prompts)

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """See `Engine.generate`."""
        return list(await asyncio.gather(*map(self._generate, requests)))

    async def _generate(self, request: GenerationRequest) -> Generation:
        completion = await self._complete(request, logit_bias=None if request.bare_spaces else self._forbidden)
        probabilities = [math.exp(value) for value in completion.log_probabilities]
        return read_generation(self._tokenizer, list(completion.ids), probabilities, request.max_new_tokens)

    async def _complete(self, request: GenerationRequest, logit_bias: Mapping[str, int] | None) -> Completion:
        return await self._client.complete(
            self._model, request.prompt, request.max_new_tokens,
            structured_outputs={"regex": request.pattern}, logit_bias=logit_bias,
        )  # fmt: skip

    async def rank(self, requests: Sequence[RankingRequest]) -> list[Ranking]:
        """See `Engine.rank`. The server ranks, and this process embeds."""
        embedded, choices = await asyncio.gather(self._embedded(requests), asyncio.gather(*map(self._rank, requests)))
        return [Ranking(found, embedded.get(place)) for place, found in enumerate(choices)]

    async def _embedded(self, requests: Sequence[RankingRequest]) -> dict[int, npt.NDArray[np.float32]]:
        """Returns the vectors of the embedding prompts by the place of their request."""
        places = [place for place, one in enumerate(requests) if one.embedding]
        return (
            dict(zip(places, await self.embed([requests[place].embedding for place in places]), strict=True)) if places else {}
        )

    async def _rank(self, request: RankingRequest) -> list[RankedChoice]:
        """Runs the same search as the other engines, with one-token requests for each sequence that the search follows."""
        search = ChoiceSearch(request.choices, request.count, exclude=request.exclude)
        while search.live:
            asked = (
                self._likeliest([*request.prompt, *beam.ids], search.following(beam.ids), search.wanted) for beam in search.live
            )
            search.advance(await asyncio.gather(*asked))
        return search.found

    async def _likeliest(self, prompt: Sequence[int], following: Sequence[int], wanted: int) -> Likeliest:
        """Returns the `wanted` likeliest of the tokens in `following`."""
        if len(following) > MOST_REQUESTS * MOST_ASKED_IDS:
            found = await self._among_the_likeliest(prompt, frozenset(following), wanted)
            if found is not None:
                return found
        parts = [following[start : start + MOST_ASKED_IDS] for start in range(0, len(following), MOST_ASKED_IDS)]
        asked = await asyncio.gather(
            *(self._client.complete(self._model, prompt, 1, logprobs=len(ids), logprob_token_ids=list(ids)) for ids in parts)
        )
        everything = {token: log for completion in asked for token, log in completion.likeliest[0].items()}
        return _best(everything, following, wanted)

    async def _among_the_likeliest(self, prompt: Sequence[int], allowed: frozenset[int], wanted: int) -> Likeliest | None:
        """Returns the likeliest allowed tokens if enough of them are among the likeliest of all tokens, else None.

        Also returns None for an incomplete answer: vLLM 0.32 loses most of it if a request for tokens by id runs at the same time.
        """
        asked = await self._client.complete(self._model, prompt, 1, logprobs=MOST_ASKED_LIKELIEST)
        likeliest = asked.likeliest[0]
        found = [token for token in likeliest if token in allowed]
        whole = len(likeliest) >= MOST_ASKED_LIKELIEST
        return _best(likeliest, found, wanted) if whole and len(found) >= wanted else None

    def failure(self) -> str | None:
        """Always None: without the server, embedding and search still work, and only requests for hashtags are refused."""
        return None

    def state(self) -> EngineState:
        """See `Engine.state`."""
        return EngineState(left_alone={"vllm": self._client.left_alone})

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._embedding.close()
        await self._client.close()


def _best(log_probabilities: Mapping[int, float], tokens: Sequence[int], wanted: int) -> Likeliest:
    ordered = sorted(tokens, key=lambda token: -log_probabilities[token])[:wanted]
    return [(token, log_probabilities[token]) for token in ordered]
