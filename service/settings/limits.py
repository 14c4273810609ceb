"""`LimitSettings`: limits of requests, queues and suggestions; the log."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from notellm.hashtag_use import MIN_USES
from notellm.messages import MAX_NOTES
from service.caller import MAX_TIMEOUT_SECONDS

MIB = 2**20


class LimitSettings(BaseSettings):
    """Limits of requests, queues and suggestions; the log."""

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
