"""`open_engine`: starts the engine that the settings ask for."""

import logging
from collections.abc import Callable

import torch

from notellm.checkpoint import Checkpoint
from notellm.prompt import NotePrompt
from service.engines import Engine, LocalEngine, ThreadedEngine
from service.engines.cores import usable_cores
from service.engines.threaded import in_passing_thread
from service.errors import EngineUnavailable, StartupError
from service.settings import MIB, Settings

logger = logging.getLogger(__name__)


async def open_engine(
    settings: Settings,
    checkpoint: Checkpoint,
    prompt: NotePrompt,
    restarted: Callable[[], None] = lambda: None,
    *,
    at_home: bool = True,
) -> Engine:
    """Starts the engine that the settings ask for. Imports only the libraries of this engine.

    Args:
        settings: the service's settings.
        checkpoint: the checkpoint to load.
        prompt: the checkpoint's prompt builder.
        restarted: called each time that vLLM is started again.
        at_home: whether it is the checkpoint in the settings. A remote server generates only with that model; any other model runs in
            this process.

    Raises:
        CheckpointError: the weights cannot be loaded.
        StartupError: the settings ask for vLLM and it does not start, or the remote server is unsuitable or does not answer.
    """
    if settings.remote_url and not at_home:
        settings = settings.model_copy(update={"engine": "local", "remote_url": None})
    if settings.engine == "vllm":
        return await _open_vllm(settings, checkpoint, prompt, restarted)
    if settings.engine == "auto" and settings.remote_url is None and _vllm_suits(settings):
        try:
            return await _open_vllm(settings, checkpoint, prompt, restarted)
        except StartupError as error:
            logger.warning("vLLM is installed but cannot be used; using the local engine: %s", error)
    local = await in_passing_thread(
        LocalEngine, checkpoint, prompt, max_batch_tokens=settings.max_batch_tokens, threads=settings.threads,
        int8=settings.embedding_int8,
    )  # fmt: skip
    if settings.remote_url is not None:
        return await _open_remote(settings, checkpoint, prompt, local)
    return ThreadedEngine(local)


def _vllm_suits(settings: Settings) -> bool:
    """Whether `engine=auto` chooses vLLM: only on a GPU, since on a CPU the local engine is at least as fast, and smaller.

    Source: docs/results/speed.md.
    """
    from service.engines.vllm_process import TESTED, installed_release

    release = installed_release()
    tested = release is not None and release.startswith(TESTED)
    return tested and not settings.embedding_int8 and torch.cuda.is_available()


async def _open_vllm(settings: Settings, checkpoint: Checkpoint, prompt: NotePrompt, restarted: Callable[[], None]) -> Engine:
    from service.engines.vllm import VllmEngine
    from service.engines.vllm_process import VllmOptions

    options = VllmOptions(
        cache_bytes=settings.vllm_cache_mib * MIB,
        lanes=settings.max_generation_notes,
        threads=settings.threads or usable_cores(),
        tensor_parallel=settings.vllm_tensor_parallel,
        untested=settings.vllm_untested,
    )
    engine = VllmEngine(
        checkpoint, prompt, options, max_batch_tokens=settings.max_batch_tokens, stall_seconds=settings.vllm_stall_seconds,
        restarted=restarted,
    )  # fmt: skip
    await engine.open()
    return engine


async def _open_remote(settings: Settings, checkpoint: Checkpoint, prompt: NotePrompt, local: LocalEngine) -> Engine:
    from service.engines.completions import CompletionsClient
    from service.engines.remote import RemoteEngine

    assert settings.remote_url is not None
    key = settings.remote_api_key
    client = CompletionsClient(
        settings.remote_url,
        key.get_secret_value() if key else None,
        timeout_seconds=settings.remote_timeout_seconds,
        connections=64 * settings.max_generation_notes,
    )
    engine = RemoteEngine(checkpoint, prompt, local, client, lanes=settings.max_generation_notes)
    try:
        await engine.open(settings.remote_model)
    except EngineUnavailable as error:
        await engine.close()
        raise StartupError(f"NOTELLM_REMOTE_URL: {error.detail}") from error
    except BaseException:
        await engine.close()
        raise
    return engine
