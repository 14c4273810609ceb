"""`NetworkSettings`: where the service listens, and to whom."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class NetworkSettings(BaseSettings):
    """Where the service listens, and to whom."""

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
    playground: bool = Field(
        default=False,
        description="Whether to show the playground at `/`: a page on which people write notes, see hashtags and neighbours, and look at "
        "a map of all notes (docs/playground.md). Without it, `/` leads to the API's description.",
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
