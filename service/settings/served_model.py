"""`ModelSettings`: the checkpoint and what runs it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class ModelSettings(BaseSettings):
    """The checkpoint and what runs it."""

    checkpoint: Path = Field(description="Checkpoint directory to serve, as written by `notellm-train`.")
    verify_checkpoint: Literal["sha256", "size"] = Field(
        default="sha256",
        description="`sha256` reads every byte of the checkpoint at start; `size` compares sizes only, for huge models on trusted disks.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Threads of a forward pass. If not set, one for each core that the process may use.",
    )
    embedding_int8: bool = Field(
        default=False,
        description="Whether to embed with weights rounded to 8 bits, if a measurement at start finds this faster on this processor. "
        "Vectors change a little (docs/performance.md); hashtags do not. Not with `engine=vllm` or on a GPU.",
    )
    engine: Literal["auto", "local", "vllm", "remote"] = Field(
        default="auto",
        description="What runs the model. `local`: this process runs all of it, with transformers and our forward pass. `vllm`: one vLLM "
        "runs all of it, with one copy of the weights. `remote`: a `vllm serve` at `remote_url` makes the hashtags, and embedding "
        "works as with `local`. `auto`: `remote` if there is a `remote_url`; otherwise `vllm` on a GPU, if a tested release of it is "
        "installed and `embedding_int8` is off; otherwise `local`.",
    )
    vllm_cache_mib: int = Field(
        default=1024,
        ge=16,
        le=2**20,
        description="Memory for vLLM's key-value cache, on each GPU or on a CPU; with `engine=vllm`.",
    )
    vllm_tensor_parallel: int = Field(default=1, ge=1, le=64, description="GPUs that share the layers, with `engine=vllm`.")
    vllm_stall_seconds: float = Field(
        default=0.25,
        gt=0,
        le=60,
        description="Longest time for which embedding may hold up generation; a single note is not divided and may take longer.",
    )
    vllm_untested: bool = Field(
        default=False, description="Whether to use a release of vLLM that this release was not tested with."
    )
    remote_url: str | None = Field(
        default=None, description="Address of a `vllm serve` of the same checkpoint (`http://host:8000`), with `engine=remote`."
    )
    remote_model: str | None = Field(
        default=None, description="Name of the model at `remote_url`; not needed if the server has only one."
    )
    remote_api_key: SecretStr | None = Field(default=None, description="API key of `remote_url`.")
    remote_timeout_seconds: float = Field(default=60, gt=0, le=3600, description="Longest wait for `remote_url` to answer.")
