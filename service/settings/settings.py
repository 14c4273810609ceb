"""`Settings`: everything an operator can set, read from `NOTELLM_*` environment variables and checked together."""

import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.caller import MAX_TIMEOUT_SECONDS
from service.settings.exposure import check_exposure, read_origins

PREFIX = "NOTELLM_"
MAX_NOTES = 256
MIB = 2**20
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Settings(BaseSettings):
    """Settings of `notellm-serve`. Set them as environment variables: `checkpoint` is `NOTELLM_CHECKPOINT`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    checkpoint: Path = Field(description="Checkpoint directory to serve, as written by `notellm-train`.")
    verify_checkpoint: Literal["sha256", "size"] = Field(
        default="sha256",
        description="`sha256` reads every byte of the checkpoint at start; `size` compares sizes only, for huge models on trusted disks.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Threads of a forward pass; as many as the process may use cores if not set.",
    )
    embedding_int8: bool = Field(
        default=False,
        description="Whether to embed by weights rounded to 8 bits where this processor is faster with them, which is measured at "
        "start. Vectors change a little (docs/performance.md); hashtags do not. Not with `engine=vllm` or on a GPU.",
    )
    engine: Literal["auto", "local", "vllm", "remote"] = Field(
        default="auto",
        description="What runs the model: `local` all of it in this process, by transformers and our forward pass; `vllm` all of it "
        "in one vLLM, with one copy of the weights; `remote` hashtags by a `vllm serve` at `remote_url`, embedding as with `local`. "
        "`auto` is `remote` with a `remote_url`, else `vllm` on a GPU where a release is installed that this one was tested with "
        "(and `embedding_int8` is off), else `local`.",
    )
    vllm_cache_mib: int = Field(
        default=1024,
        ge=16,
        le=2**20,
        description="Memory of vLLM's key-value cache, on each GPU or of a CPU; with `engine=vllm`.",
    )
    vllm_tensor_parallel: int = Field(default=1, ge=1, le=64, description="GPUs that share the layers, with `engine=vllm`.")
    vllm_stall_seconds: float = Field(
        default=0.25,
        gt=0,
        le=60,
        description="Longest time for which embedding may hold up generation at once, as far as it can be divided: a note is not.",
    )
    vllm_untested: bool = Field(
        default=False, description="Whether to use another release of vLLM than those that this release was tested with."
    )
    remote_url: str | None = Field(
        default=None, description="Address of a `vllm serve` of the same checkpoint (`http://host:8000`), with `engine=remote`."
    )
    remote_model: str | None = Field(
        default=None, description="Name of the model at `remote_url`; need not be set where the server has only one."
    )
    remote_api_key: SecretStr | None = Field(default=None, description="API key of `remote_url`.")
    remote_timeout_seconds: float = Field(default=60, gt=0, le=3600, description="Longest wait for an answer of `remote_url`.")

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. One that other machines reach needs `api_keys_file`, or `allow_anonymous`.",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    trusted_proxies: str = Field(
        default="",
        description="Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` is believed. Clients share the "
        "queues fairly by address: behind a proxy that is not named here all are one.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File of the API keys that are accepted, in TOML, by their hashes; `notellm-serve keygen` makes one, "
        "docs/security.md describes it. It is read again when it changes. Without it everybody may do everything.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Whether to listen without API keys on an address that other machines reach: only where something else "
        "decides who reaches it.",
    )
    requests_per_second: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="Requests a second of a client: of each key that has no limit of its own or, without keys, of each address. "
        "Ten seconds' worth may come at once; more is a 429.",
    )
    tokens_per_second: float | None = Field(
        default=None, gt=0, le=1e9, description="Prompt tokens a second that a client gives the model, in the same way."
    )
    cors_origins: str = Field(
        default="",
        description="Origins of web pages that may call the service from a browser (`https://host`), separated by commas.",
    )
    secrets_dir: Path | None = Field(
        default=None,
        description="Directory of files that each hold a secret, such as a container's `/run/secrets`: `notellm_qdrant_api_key` and "
        "`notellm_remote_api_key` stand for the variables of these names. They are read at start.",
    )
    shutdown_seconds: int = Field(
        default=30, ge=0, le=3600, description="How long accepted requests may take to finish after SIGTERM."
    )

    data_dir: Path = Field(default=Path("data"), description="Where the embedded index lives. Not used with `qdrant_url`.")
    min_free_disk_mib: int = Field(
        default=256,
        ge=0,
        le=2**30,
        description="With less free on its disk, the embedded index takes no writes (507) and goes on reading. A disk that runs full "
        "under it ends the process; it adds files of 32 MiB at a time.",
    )
    embedded_index_notes: int = Field(
        default=100_000,
        ge=1,
        description="Notes outside a graph (`notellm-serve optimize`) above which the embedded index is too slow for its way, a scan of "
        "all their vectors: there is a warning in the log and in `/model` then.",
    )
    qdrant_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+/?$",
        description="Address of a Qdrant server (`http://host:6333`, or `https://` for TLS). The embedded index is used if not set.",
    )
    qdrant_api_key: SecretStr | None = Field(
        default=None, description="API key of the Qdrant server. Without TLS it is sent to this machine only."
    )
    qdrant_plain_api_key: bool = Field(
        default=False,
        description="Whether to send the key without TLS to another machine, too: on a network that others cannot read.",
    )
    qdrant_ca_file: Path | None = Field(
        default=None,
        description="Certificates (PEM) to trust instead of those of public authorities, with an `https://` address.",
    )
    qdrant_grpc_port: int = Field(
        default=6334, ge=1, le=65535, description="gRPC port of the Qdrant server; all calls go there."
    )
    qdrant_timeout_seconds: int = Field(
        default=10, ge=1, le=600, description="Longest wait for an answer of the Qdrant server, over all tries."
    )
    qdrant_collection: str = Field(
        default="notes",
        pattern=r"^[A-Za-z0-9_-]{1,128}$",
        description="Collection of the Qdrant server; made if missing, by the settings below, which do not change one that exists.",
    )
    qdrant_quantization: Literal["none", "int8"] = Field(
        default="none",
        description="`int8` keeps a copy of the vectors in memory, a byte a component; what it selects is ranked by the vectors.",
    )
    qdrant_vectors_on_disk: bool = Field(
        default=False, description="Whether vectors stay on disk, for collections that memory does not hold; with `int8`."
    )
    qdrant_payload_on_disk: bool = Field(
        default=True, description="Whether the notes' texts stay on disk. What filters need is in memory in any case."
    )
    qdrant_replication: int = Field(default=1, ge=1, le=16, description="Copies of each shard, on different nodes.")
    qdrant_write_consistency: int = Field(
        default=1, ge=1, le=16, description="Copies that must have a write before it is acknowledged."
    )
    qdrant_shards: int | None = Field(
        default=None, ge=1, le=1024, description="Shards of the collection; as many as there are nodes if not set."
    )

    request_timeout_seconds: float = Field(
        default=120,
        gt=0,
        le=MAX_TIMEOUT_SECONDS,
        description="How long a request may take that has no `X-Request-Timeout` header; then it is a 504, and what of it has not "
        "reached the model yet never does.",
    )
    max_body_bytes: int = Field(default=4 * MIB, ge=1024, le=2**30, description="Largest request body; more is a 413.")
    max_notes_per_request: int = Field(
        default=MAX_NOTES, ge=1, le=MAX_NOTES, description="Most notes of one embed request; more is a 422."
    )
    max_hashtag_notes_per_request: int = Field(
        default=32,
        ge=1,
        le=MAX_NOTES,
        description="Most notes of one hashtag request, which costs far more than an embedding.",
    )
    max_batch_tokens: int = Field(
        default=1024,
        ge=64,
        le=2**20,
        description="Tokens of one forward pass. More fills a processor better, less answers sooner; a GPU wants 8,192 or more.",
    )
    max_generation_notes: int = Field(
        default=16, ge=1, le=1024, description="Prompts that are generated from at the same time."
    )
    hashtag_vocabulary: int = Field(
        default=50_000,
        ge=0,
        le=500_000,
        description="How many of the checkpoint's hashtags, the most frequent ones, may be suggested; a thousand take about a "
        "megabyte. With 0, or where the checkpoint lists none, hashtags are what the model writes.",
    )
    hashtag_blocklist: Path | None = Field(
        default=None, description="File of hashtags that are never suggested, one a line, in any spelling; in UTF-8."
    )
    hashtag_min_confidence: float = Field(
        default=0.0, ge=0, le=1, description="Hashtags of less confidence are not suggested; a note may get none then."
    )
    max_queue_tokens: int = Field(
        default=131_072,
        ge=64,
        le=2**30,
        description="Tokens that may wait for the model, of all clients; a request beyond that, or beyond its client's share, gets a 429.",
    )

    max_searches: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Searches that may run and wait at once; more, or more than a client's share, is a 429.",
    )
    max_connections: int = Field(
        default=1024, ge=1, le=10**6, description="Connections at once; one more takes the place of an idle one."
    )

    stall_seconds: float = Field(
        default=120,
        gt=0,
        le=86_400,
        description="After this long without a success while work is waiting or failing, a canary forward pass decides about liveness.",
    )
    canary_seconds: float = Field(
        default=30, gt=0, le=3600, description="How long the canary may take before liveness turns red."
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level that is logged.")
    log_format: Literal["json", "text"] = Field(default="json", description="One JSON object a line, or text for a terminal.")

    @field_validator("remote_url", "qdrant_url")
    @classmethod
    def _has_no_credentials(cls, url: str | None) -> str | None:
        if url and "@" in urlsplit(url).netloc:
            raise ValueError("has a name or password in it, and addresses are shown in logs: use the setting for the API key")
        return url

    @field_validator("remote_api_key", "qdrant_api_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        # HTTP clients complain about others in a message that repeats them.
        if key and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("has a character that no HTTP header can carry: a line break at its end, a space?")
        return key

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        read_origins(origins)
        return origins

    @model_validator(mode="after")
    def _lets_in_who_is_meant(self) -> Self:
        check_exposure(self.host, keys=bool(self.api_keys_file), anonymous=self.allow_anonymous)
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.qdrant_api_key and not self.qdrant_url:
            raise ValueError("NOTELLM_QDRANT_API_KEY is set without NOTELLM_QDRANT_URL: set the address too, or drop the key")
        if self.qdrant_api_key and not (self._safe_qdrant or self.qdrant_plain_api_key):
            raise ValueError(
                "NOTELLM_QDRANT_API_KEY would cross the network unencrypted: set an https:// address, or NOTELLM_QDRANT_PLAIN_API_KEY=true"
            )
        if self.qdrant_ca_file and not (self.qdrant_url or "").startswith("https://"):
            raise ValueError(
                "NOTELLM_QDRANT_CA_FILE is set without an https:// NOTELLM_QDRANT_URL: change the address, or drop it"
            )
        if self.qdrant_write_consistency > self.qdrant_replication:
            raise ValueError(
                "NOTELLM_QDRANT_WRITE_CONSISTENCY is above NOTELLM_QDRANT_REPLICATION: no write could be acknowledged"
            )
        if (self.engine == "remote" and not self.remote_url) or (self.remote_url and self.engine not in {"auto", "remote"}):
            raise ValueError("NOTELLM_ENGINE=remote and NOTELLM_REMOTE_URL go together: set both, or neither")
        if self.embedding_int8 and self.engine == "vllm":
            raise ValueError(
                "NOTELLM_EMBEDDING_INT8 is set with NOTELLM_ENGINE=vllm, which embeds by vLLM's own weights: drop one"
            )
        if self.max_queue_tokens < self.max_batch_tokens:
            raise ValueError("NOTELLM_MAX_QUEUE_TOKENS is below NOTELLM_MAX_BATCH_TOKENS: no batch could ever fill up")
        return self

    @property
    def _safe_qdrant(self) -> bool:
        """Whether nobody else can read what is said to the Qdrant server."""
        address = urlsplit(self.qdrant_url or "")
        return address.scheme == "https" or address.hostname in _LOOPBACK
