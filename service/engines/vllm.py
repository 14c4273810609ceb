"""`VllmEngine`: one vLLM with one copy of the weights for everything. vLLM generates; our forward pass embeds in its worker."""

import asyncio
import importlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from notellm.checkpoint import Checkpoint
from notellm.forward import token_batches
from notellm.prompt import NotePrompt
from notellm.ranking import RankedChoice
from notellm.trie import TokenTrie
from service.engines.base import EngineState, Generation, GenerationRequest, QueuePolicy, Ranking, RankingRequest
from service.engines.pieces import FORBID, bare_space_ids, read_generation
from service.engines.supervisor import Supervisor
from service.engines.throughput import Throughput
from service.engines.vllm_process import VllmOptions, rpc, start_vllm, stop_vllm
from service.errors import EngineUnavailable

logger = logging.getLogger(__name__)

# More steps than any ranking has: it has one for each token of the longest choice.
ALL_STEPS = 1_000_000


class VllmEngine:
    """The engine over one `AsyncLLM`, which it starts again when it ends by itself.

    Embedding, ranking and generation take turns in vLLM's worker. While vLLM generates, embedding runs in portions of at most
    `stall_seconds` by the rate measured so far, and ranking runs in single forward passes. A step of generation follows each of
    them.

    Args:
        checkpoint: vLLM loads it in float32 on a CPU and in bfloat16 on a GPU.
        prompt: the checkpoint's prompt builder.
        options: how to run vLLM.
        max_batch_tokens: limit of tokens per embedding pass.
        stall_seconds: longest time for which embedding may hold up generation. A single note is not divided and may take longer.
        restarted: called each time that vLLM is about to be started again.
    """

    name = "vllm"

    def __init__(
        self,
        checkpoint: Checkpoint,
        prompt: NotePrompt,
        options: VllmOptions,
        *,
        max_batch_tokens: int,
        stall_seconds: float,
        restarted: Callable[[], None] = lambda: None,
    ) -> None:
        # The worker computes all waiting rankings together, with steps of generation between their passes.
        self.queue_policy = QueuePolicy(
            generation_lanes=options.lanes, ranking_lanes=1, merges=True, ranks_together=True, abandons=True
        )
        self._tokenizer = checkpoint.tokenizer
        self._dimensions = checkpoint.manifest.dimensions
        self._max_batch_tokens = max_batch_tokens
        self._stall_seconds = stall_seconds
        self._rate = Throughput()
        self._generating = 0
        self._forbidden = dict.fromkeys(bare_space_ids(self._tokenizer), FORBID)
        self._vocabularies: WeakKeyDictionary[TokenTrie, tuple[Any, int]] = WeakKeyDictionary()
        self._keys = itertools.count()
        self._supervisor = Supervisor[Any](
            "vLLM",
            lambda: start_vllm(checkpoint, prompt, options, max_batch_tokens),
            stop_vllm,
            lambda llm: not llm.errored,
            restarted=restarted,
        )

    async def open(self) -> None:
        """Starts vLLM.

        Raises:
            StartupError: see `start_vllm`.
        """
        await self._supervisor.open()

    async def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """See `Engine.embed`."""
        vectors = np.empty((len(prompts), self._dimensions), dtype=np.float32)
        lengths = [len(prompt) for prompt in prompts]
        waiting = list(range(len(prompts)))
        while waiting:
            # The size of each portion depends on the latest rate and on whether vLLM generates now.
            portion = next(token_batches([lengths[index] for index in waiting], self._portion_tokens()))
            indices = [waiting[position] for position in portion]
            done = frozenset(indices)
            waiting = [index for index in waiting if index not in done]
            start = time.perf_counter()
            answer = await self._ask("notellm_embed", [list(prompts[index]) for index in indices])
            self._rate.learn(sum(lengths[index] for index in indices), time.perf_counter() - start)
            vectors[indices] = np.frombuffer(answer, dtype=np.float32).reshape(len(indices), self._dimensions)
        return vectors

    def _portion_tokens(self) -> int:
        seconds_a_token = self._rate.seconds(1)
        if not self._generating or not seconds_a_token:
            return self._max_batch_tokens
        return max(1, min(self._max_batch_tokens, int(self._stall_seconds / seconds_a_token)))

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """See `Engine.generate`."""
        return list(await asyncio.gather(*map(self._generate, requests)))

    async def _generate(self, request: GenerationRequest) -> Generation:
        vllm: Any = importlib.import_module("vllm")
        params = vllm.SamplingParams(
            temperature=0, max_tokens=request.max_new_tokens, logprobs=0, detokenize=False,
            logit_bias=None if request.bare_spaces else self._forbidden,
            structured_outputs=vllm.sampling_params.StructuredOutputsParams(regex=request.pattern),
            output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip
        llm, answer = self._supervisor.get(), None
        self._generating += 1
        try:
            async for output in llm.generate({"prompt_token_ids": list(request.prompt)}, params, request_id=uuid4().hex):
                answer = output.outputs[0]
        except vllm.v1.engine.exceptions.EngineDeadError as error:
            raise EngineUnavailable("vLLM ended while it generated: try again") from error
        finally:
            self._generating -= 1
        if answer is None:
            raise RuntimeError("vLLM gave no output")
        probabilities = [math.exp(step[token].logprob) for token, step in zip(answer.token_ids, answer.logprobs, strict=True)]
        return read_generation(self._tokenizer, list(answer.token_ids), probabilities, request.max_new_tokens)

    async def rank(self, requests: Sequence[RankingRequest]) -> list[Ranking]:
        """See `Engine.rank`. The worker computes the beams of all requests together."""
        ranking = next(self._keys)
        if not await self._begin(ranking, requests):
            # The worker keeps only the choices that were used last.
            for request in requests:
                self._vocabularies.pop(request.choices, None)
            if not await self._begin(ranking, requests):
                raise RuntimeError("the worker does not know all of the choices")
        ranked = None
        while ranked is None:
            ranked = await self._ask("notellm_go_on_ranking", ranking, 1 if self._generating else ALL_STEPS)
        return [
            Ranking(
                [RankedChoice(tuple(ids), log_probability) for ids, log_probability in found],
                np.frombuffer(vector, dtype=np.float32) if vector else None,
            )
            for found, vector in ranked
        ]

    async def _begin(self, ranking: int, requests: Sequence[RankingRequest]) -> bool:
        """Prepares rankings in the worker; returns false if it lacks some of the choices."""
        asked = [
            (
                list(one.prompt),
                await self._vocabulary(one.choices),
                one.count,
                [list(ids) for ids in one.exclude],
                list(one.embedding),
            )
            for one in requests
        ]
        return bool(await self._ask("notellm_begin_ranking", ranking, asked))

    async def _vocabulary(self, choices: TokenTrie) -> int:
        """Returns the key under which the running worker keeps the choices; sends them first if the worker lacks them."""
        llm = self._supervisor.get()
        known = self._vocabularies.get(choices)
        if known is not None and known[0] is llm:
            return known[1]
        key = next(self._keys)
        await self._ask("notellm_vocabulary", key, [list(ids) for ids in choices.sequences], choices.eos_token_id)
        self._vocabularies[choices] = (llm, key)
        return key

    async def _ask(self, method: str, *args: object) -> Any:
        llm = self._supervisor.get()
        try:
            return await rpc(llm, method, *args)
        except Exception as error:
            if llm.errored:
                raise EngineUnavailable("vLLM ended while it computed: try again") from error
            raise

    def failure(self) -> str | None:
        """See `Engine.failure`."""
        return self._supervisor.failure

    def state(self) -> EngineState:
        """See `Engine.state`."""
        return EngineState()

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._supervisor.close()
