"""`LocalEngine`: embeds with our encoder and generates with transformers, with one copy of the weights in this process."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import GenerationConfig, LogitsProcessorList

from notellm.checkpoint import Checkpoint
from notellm.encoder import NoteEncoder
from notellm.forward import log_probabilities
from notellm.int8 import Int8NoteLLM, times_faster
from notellm.prompt import NotePrompt
from notellm.ranking import AlsoRead, ChoiceRanker, ChoiceSearch
from service.engines.base import Generation, GenerationRequest, Ranking, RankingRequest
from service.engines.cores import usable_cores
from service.engines.guided import Guide, GuidedLogits, GuidedRow
from service.engines.pieces import read_generation

logger = logging.getLogger(__name__)

# Size of the forward pass that compares int8 with float32 at load.
PROBE_TOKENS = 512
# Least cosine between the int8 and the float32 vector of a note; below it, rounding has changed the model too much.
LEAST_COSINE = 0.95


class LocalEngine:
    """The engine inside this process.

    Args:
        checkpoint: loaded in float32 on a CPU and in bfloat16 on a GPU.
        prompt: the checkpoint's prompt builder.
        max_batch_tokens: limit of tokens per embedding pass.
        threads: threads per forward pass; None means one per usable core.
        int8: embed with weights rounded to 8 bits if that is faster on this machine. Hashtags and categories do not change.
    """

    name = "local"

    def __init__(
        self, checkpoint: Checkpoint, prompt: NotePrompt, *, max_batch_tokens: int, threads: int | None, int8: bool = False
    ) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        torch.set_num_threads(threads or usable_cores())
        logger.info("loading", extra={"device": device, "dtype": str(dtype), "threads": torch.get_num_threads()})
        self._model = checkpoint.load_model(dtype, device)
        self._tokenizer = checkpoint.tokenizer
        # A base model's own generation settings (penalties, beams, minimum lengths) would leak into greedy search.
        self._model.causal_lm.generation_config = GenerationConfig()
        self._encoder = NoteEncoder(self._model, prompt.embedding_prefix, max_batch_tokens=max_batch_tokens)
        if int8:
            self._encoder = self._fastest_encoder(prompt, max_batch_tokens)
        self._ranker = ChoiceRanker(self._model.layers)
        self._guide = Guide(self._tokenizer, self._model.causal_lm.config.vocab_size)

    def _fastest_encoder(self, prompt: NotePrompt, max_batch_tokens: int) -> NoteEncoder:
        if self._model.device.type != "cpu":
            logger.warning("int8 is only for CPUs: embedding stays in half precision")
            return self._encoder
        if not self._encoder.packed:
            logger.warning("int8 needs the packed forward pass, which this model does not use: embedding stays in float32")
            return self._encoder
        prefix = prompt.embedding_prefix
        probe = [[*prefix, *prefix]] * max(1, PROBE_TOKENS // len(prefix))
        try:
            rounded = NoteEncoder(Int8NoteLLM(self._model), prefix, max_batch_tokens=max_batch_tokens)
            cosine = float((rounded.encode(probe[:1]) * self._encoder.encode(probe[:1])).sum())
            gain = times_faster(lambda: rounded.encode(probe), lambda: self._encoder.encode(probe))
        except (TypeError, RuntimeError) as error:
            logger.warning("embedding stays in float32: %s", error)
            return self._encoder
        if not cosine >= LEAST_COSINE:
            logger.warning(
                "rounding to int8 changes the vectors too much: embedding stays in float32", extra={"cosine": cosine}
            )
            return self._encoder
        if gain <= 1:
            logger.warning(
                "int8 is slower than float32 on this processor: embedding stays in float32", extra={"times_faster": gain}
            )
            return self._encoder
        logger.info("embedding in int8", extra={"times_faster": gain})
        return rounded

    def embed(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """See `BlockingEngine.embed`."""
        return self._encoder.encode(prompts)

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """See `BlockingEngine.generate`. Runs one batch, padded on the left."""
        pad, eos = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        width = max(len(request.prompt) for request in requests)
        rows = [(width - len(request.prompt), list(request.prompt)) for request in requests]
        device = self._model.device
        guided_rows = [GuidedRow(self._guide.matcher(r.pattern), r.max_new_tokens, r.bare_spaces) for r in requests]
        guided = GuidedLogits(guided_rows, self._guide, width, eos)
        causal_lm: Any = self._model.causal_lm
        sequences = causal_lm.generate(
            torch.tensor([[pad] * padding + ids for padding, ids in rows], device=device),
            attention_mask=torch.tensor([[0] * padding + [1] * len(ids) for padding, ids in rows], device=device),
            logits_processor=LogitsProcessorList([guided]),
            generation_config=GenerationConfig(
                max_new_tokens=max(request.max_new_tokens for request in requests),
                do_sample=False,
                use_cache=True,
                eos_token_id=eos,
                pad_token_id=pad,
                num_beams=1,
            ),
        )
        return [
            read_generation(self._tokenizer, ids, [step[row] for step in guided.probabilities], request.max_new_tokens)
            for row, (ids, request) in enumerate(zip(sequences[:, width:].tolist(), requests, strict=True))
        ]

    def rank(self, requests: Sequence[RankingRequest]) -> list[Ranking]:
        """See `BlockingEngine.rank`. The beams of all requests are computed together."""
        searches = [ChoiceSearch(one.choices, one.count, exclude=one.exclude) for one in requests]
        also = AlsoRead([one.embedding for one in requests if one.embedding])
        self._ranker.run([one.prompt for one in requests], searches, also if self._encoder.packed else None)
        # Without packing, the encoder knows that the layers of the search give wrong states for this model.
        vectors = iter(
            self._encoder.finish(also.states, also.prompts) if self._encoder.packed else self._encoder.encode(also.prompts)
        )
        return [
            Ranking(search.found, next(vectors) if one.embedding else None)
            for one, search in zip(requests, searches, strict=True)
        ]

    def log_probabilities(self, prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
        """Returns the log-probability of each token as the next one after a prompt, to compare another engine's model with this one."""
        return log_probabilities(self._model.layers, prompt, tokens)
