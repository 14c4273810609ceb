"""`Settings`: everything an operator can set, read from `NOTELLM_*` environment variables and checked together."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from notellm.hashtag_use import MIN_USES
from notellm.messages import MAX_NOTES
from service.caller import MAX_TIMEOUT_SECONDS
from service.settings.engine import check_engine
from service.settings.exposure import check_exposure, read_origins
from service.settings.http_values import refuse_credentials, refuse_unsendable
from service.settings.qdrant import check_qdrant
from service.settings.root_path import clean_root_path

PREFIX = "NOTELLM_"
MIB = 2**20


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

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. An address that other machines can reach needs `api_keys_file` or `allow_anonymous`.",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    root_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*/?$",
        description="Path under which a proxy offers the service, such as `/notellm`. The proxy may remove it from requests or leave it: "
        "each path works with it and without it. It may not begin like a path of the service itself, such as `/v1`.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` the service believes. Clients share "
        "the queues fairly by address; behind a proxy that is not named here, they all count as one client.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File of the accepted API keys, in TOML, by their hashes. `notellm-serve keygen` makes a key; docs/security.md "
        "describes the file. The service reads it again when it changes. Without a file, anyone can do anything.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Whether to listen without API keys on an address that other machines can reach. Only set it if something else "
        "decides who reaches the service.",
    )
    requests_per_second: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="Requests per second of a client: of each key without a limit of its own or, without keys, of each address. Ten "
        "seconds' worth may come at once; a request beyond that gets a 429.",
    )
    tokens_per_second: float | None = Field(
        default=None, gt=0, le=1e9, description="Prompt tokens per second of a client, counted in the same way."
    )
    cors_origins: str = Field(
        default="",
        description="Origins of web pages that may call the service from a browser (`https://host`), separated by commas.",
    )
    secrets_dir: Path | None = Field(
        default=None,
        description="Directory of files that each hold a secret, such as a container's `/run/secrets`: `notellm_qdrant_api_key` and "
        "`notellm_remote_api_key` replace the variables of these names. They are read at start.",
    )
    keep_alive_seconds: int = Field(
        default=75,
        ge=1,
        le=86_400,
        description="How long a connection may be idle between requests, in seconds. A proxy must keep its idle connections for a shorter "
        "time, or some of its requests meet a connection that is being closed (docs/operations.md).",
    )
    shutdown_seconds: int = Field(
        default=30, ge=0, le=3600, description="How long accepted requests may take to finish after SIGTERM, in seconds."
    )

    data_dir: Path = Field(default=Path("data"), description="Where the embedded index lives. Not used with `qdrant_url`.")
    min_free_disk_mib: int = Field(
        default=256,
        ge=0,
        le=2**30,
        description="With less than this free on its disk, the embedded index refuses writes (507) and goes on reading. If the disk runs "
        "full, the process ends; the index adds files of 32 MiB at a time.",
    )
    embedded_index_notes: int = Field(
        default=100_000,
        ge=1,
        description="How many notes outside a graph (`notellm-serve optimize`) the embedded index may hold before there is a warning in "
        "the log and in `/model`: it scans the vectors of all of them, which becomes too slow.",
    )
    qdrant_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+/?$",
        description="Address of a Qdrant server (`http://host:6333`, or `https://` for TLS). The embedded index is used if not set.",
    )
    qdrant_api_key: SecretStr | None = Field(
        default=None, description="API key of the Qdrant server. Without TLS it is sent only to this machine."
    )
    qdrant_plain_api_key: bool = Field(
        default=False,
        description="Whether to send the key without TLS to other machines as well. Only set it on a network that others cannot read.",
    )
    qdrant_ca_file: Path | None = Field(
        default=None,
        description="Certificates (PEM) to trust instead of those of public authorities, with an `https://` address.",
    )
    qdrant_grpc_port: int = Field(
        default=6334, ge=1, le=65535, description="gRPC port of the Qdrant server; all calls go there."
    )
    qdrant_timeout_seconds: int = Field(
        default=10, ge=1, le=600, description="Longest wait for an answer from the Qdrant server, over all attempts."
    )
    qdrant_collection: str = Field(
        default="notes",
        pattern=r"^[A-Za-z0-9_-]{1,128}$",
        description="Collection on the Qdrant server. It is created if missing, with the settings below; an existing one is not changed.",
    )
    qdrant_quantization: Literal["none", "int8"] = Field(
        default="none",
        description="`int8` keeps a copy of the vectors in memory, one byte per component; the original vectors rank the notes that "
        "it selects.",
    )
    qdrant_vectors_on_disk: bool = Field(
        default=False, description="Whether vectors stay on disk, for collections that do not fit into memory; with `int8`."
    )
    qdrant_payload_on_disk: bool = Field(
        default=True, description="Whether the notes' texts stay on disk. What filters need is in memory in any case."
    )
    qdrant_replication: int = Field(default=1, ge=1, le=16, description="Copies of each shard, on different nodes.")
    qdrant_write_consistency: int = Field(
        default=1, ge=1, le=16, description="Copies that must have a write before it is acknowledged."
    )
    qdrant_shards: int | None = Field(
        default=None, ge=1, le=1024, description="Shards of the collection. If not set, as many as there are nodes."
    )

    request_timeout_seconds: float = Field(
        default=120,
        gt=0,
        le=MAX_TIMEOUT_SECONDS,
        description="How long a request without an `X-Request-Timeout` header may take. After that it gets a 504, and the part of it "
        "that has not reached the model never does.",
    )
    max_body_bytes: int = Field(default=4 * MIB, ge=1024, le=2**30, description="Largest request body; more gets a 413.")
    max_notes_per_request: int = Field(
        default=MAX_NOTES, ge=1, le=MAX_NOTES, description="Maximum number of notes in one embed request; more get a 422."
    )
    max_hashtag_notes_per_request: int = Field(
        default=32,
        ge=1,
        le=MAX_NOTES,
        description="Maximum number of notes in one hashtag request, which costs far more than an embed request.",
    )
    max_batch_tokens: int = Field(
        default=1024,
        ge=64,
        le=2**20,
        description="Tokens of one forward pass, and half of those of one batch of rankings. More use the processor better, fewer bring "
        "answers sooner; a GPU needs 8,192 or more.",
    )
    max_generation_notes: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="Maximum number of notes that the model generates for at once. It ranks twice as many prompts at once, two for a note "
        "that gets hashtags and a category.",
    )
    hashtag_vocabulary: int = Field(
        default=50_000,
        ge=0,
        le=500_000,
        description="How many of the checkpoint's hashtags may be suggested, and how many of those that stored notes have, the most "
        "frequent ones first; a thousand take about a megabyte. With 0, or if the checkpoint lists none, the model writes hashtags "
        "freely.",
    )
    hashtag_min_uses: int = Field(
        default=MIN_USES,
        ge=1,
        description="How many stored notes must have a hashtag that the checkpoint does not list, before it may be suggested.",
    )
    hashtag_refresh_seconds: float = Field(
        default=20,
        ge=1,
        le=86_400,
        description="Pause between two counts of the stored notes' hashtags. A count of 200,000 notes takes a tenth of a second.",
    )
    hashtag_recent_days: float | None = Field(
        default=None,
        gt=0,
        le=36_500,
        description="How common a hashtag is counts for its confidence. With this, it is how common it is among notes that were published "
        "(`created_at`) within the last this many days; all notes together count as a hundred of them. By default all notes count alike.",
    )
    hashtag_blocklist: Path | None = Field(
        default=None, description="File of hashtags that are never suggested, one hashtag per line, in any spelling, in UTF-8."
    )
    hashtag_min_confidence: float = Field(
        default=0.0, ge=0, le=1, description="Hashtags with less confidence are dropped; a note may then get none."
    )
    max_queue_tokens: int = Field(
        default=131_072,
        ge=64,
        le=2**30,
        description="Tokens of all clients that may wait for the model. A request beyond that, or beyond its client's share, gets a 429.",
    )

    max_searches: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Maximum number of searches that run and wait. A search beyond that, or beyond its client's share, gets a 429.",
    )
    max_connections: int = Field(
        default=1024, ge=1, le=10**6, description="Maximum number of open connections; one more replaces an idle one."
    )

    stall_seconds: float = Field(
        default=120,
        gt=0,
        le=86_400,
        description="If no pass succeeds for this long while work waits or fails, a canary forward pass decides liveness.",
    )
    canary_seconds: float = Field(
        default=30, gt=0, le=3600, description="How long the canary may take before liveness turns red."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Lowest level that is logged.")
    log_format: Literal["json", "text"] = Field(default="json", description="One JSON object per line, or text for a terminal.")

    @field_validator("remote_url", "qdrant_url")
    @classmethod
    def _has_no_credentials(cls, url: str | None) -> str | None:
        return refuse_credentials(url)

    @field_validator("remote_api_key", "qdrant_api_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        return refuse_unsendable(key)

    @field_validator("root_path")
    @classmethod
    def _can_be_told_from_a_path(cls, path: str) -> str:
        return clean_root_path(path)

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
        check_qdrant(self)
        check_engine(self)
        return self
