"""`StorageSettings`: where notes and vectors are stored."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class StorageSettings(BaseSettings):
    """Where notes and vectors are stored."""

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
