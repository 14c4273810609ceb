"""`check_engine`: whether the settings of the engine and its queues fit together."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.settings.settings import Settings


def check_engine(settings: "Settings") -> None:
    """Checks the engine against the settings that only some engines have, and the queue against its batches.

    Raises:
        ValueError: two settings contradict each other.
    """
    if (settings.engine == "remote" and not settings.remote_url) or (
        settings.remote_url and settings.engine not in {"auto", "remote"}
    ):
        raise ValueError("NOTELLM_ENGINE=remote and NOTELLM_REMOTE_URL go together: set both, or neither")
    if settings.embedding_int8 and settings.engine == "vllm":
        raise ValueError(
            "NOTELLM_EMBEDDING_INT8 is set with NOTELLM_ENGINE=vllm, which embeds with vLLM's own weights: drop one"
        )
    if settings.max_queue_tokens < settings.max_batch_tokens:
        raise ValueError("NOTELLM_MAX_QUEUE_TOKENS is below NOTELLM_MAX_BATCH_TOKENS: no batch could ever fill up")
