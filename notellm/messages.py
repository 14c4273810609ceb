"""Requests and answers of the HTTP interface, as the service and the client read them. A test sends each request's example.

Those under `/v1` are in `service/http/openai_schemas.py`, those of backups and migrations beside their routes.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt, model_validator

from notellm.hashtags import MAX_COUNT, MIN_COUNT, Source as HashtagSource
from notellm.note import HashtagText, Note, NoteId, NoteText, UtcDatetime

MAX_NOTES = 256
"""Notes in one request. An operator may allow fewer."""
MAX_LIMIT = 100
MAX_OFFSET = 10_000
MAX_HISTORY = 100
# Diversity reorders this many nearest notes. The number does not depend on the page: all pages must be cut from the same list.
CANDIDATES = 200

NoteField = Literal["title", "hashtags", "content"]
NoteStatus = Literal["stored", "unchanged", "stale", "embedded"]

Encoding = Literal["float", "base64"]
Vector = Annotated[
    list[float] | str,
    Field(
        description="Unit vector: a list of numbers or, with `base64`, its little-endian float32 bytes.", examples=[[0.6, 0.8]]
    ),
]
Confidence = Annotated[float, Field(ge=0, le=1, description="How sure the service is.")]

EXAMPLE_NOTE: dict[str, JsonValue] = {
    "id": "coffee-1024",
    "title": "Cold brew tastes sour, what am I doing wrong?",
    "content": "I steep coarse grounds in cold water for 12 hours. Should I grind finer or wait longer? #coldbrew",
    "hashtags": ["cold-brew", "extraction"],
    "category": "coffee",
    "created_at": "2026-11-01T08:30:00Z",
    "version": 3,
}
EXAMPLE_TEXT: dict[str, JsonValue] = {
    "title": "Which grind size suits a French press?",
    "content": "My press gives muddy coffee, the filter lets fines through.",
}


class _Model(BaseModel):
    """An answer, or a part of one. A client ignores fields that only a newer service knows."""

    model_config = ConfigDict(frozen=True)


class _Request(_Model):
    """A request body. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


# ---- suggestions -----------------------------------------------------------------------------------------------------

HashtagCount = Annotated[StrictInt, Field(ge=MIN_COUNT, le=MAX_COUNT, description="Maximum number of hashtags per note.")]
WithCategory = Annotated[StrictBool, Field(description="False leaves the category out, which is faster.")]


class SuggestedHashtag(_Model):
    """A hashtag that the note does not have yet."""

    hashtag: HashtagText = Field(examples=["french-press"])
    confidence: Confidence
    sources: list[HashtagSource] = Field(
        description="Who brings it: `model` finds it likely, `neighbours` means that stored notes near this one have it."
    )


class SuggestedCategory(_Model):
    """A category from the checkpoint's list."""

    category: str = Field(examples=["coffee"])
    confidence: Confidence


class HashtaggedNote(_Model):
    """The suggestions for one note."""

    hashtags: list[SuggestedHashtag] = Field(description="May be empty.")
    category: SuggestedCategory | None = Field(default=None, description="Missing when the checkpoint lists no categories.")
    tokens: int = Field(ge=1, description="Tokens in the hashtag prompt, after cutting.")
    truncated: list[NoteField]


class SuggestRequest(_Request):
    """What to suggest for each note."""

    count: HashtagCount = 5
    category: WithCategory = True


# ---- POST /notes/embed -----------------------------------------------------------------------------------------------


class EmbedRequest(_Request):
    """Notes to embed."""

    model_config = ConfigDict(json_schema_extra={"example": {"notes": [EXAMPLE_NOTE]}})

    notes: list[Note] = Field(min_length=1, max_length=MAX_NOTES, description="Each id may occur only once.")
    store: StrictBool = Field(default=True, description="False embeds without storing.")
    strict: StrictBool = Field(default=False, description="True refuses a note that is too long, instead of cutting it.")
    vectors: StrictBool = Field(default=True, description="False leaves the vectors out of the answer.")
    encoding_format: Encoding = "float"
    suggest: SuggestRequest | None = Field(
        default=None,
        description="Suggest hashtags and a category as well, for every note of the request, unchanged ones too.",
    )


class EmbeddedNote(_Model):
    """The result for one note."""

    id: str = Field(examples=["coffee-1024"])
    status: NoteStatus = Field(
        description="`stored`: new or changed, now in the index. `unchanged`: already in the index. `stale`: not stored, because the "
        "index holds a higher `version`, or the note was deleted in this version or a higher one. `embedded`: not stored, as requested."
    )
    tokens: int = Field(
        ge=0,
        description="Tokens in the prompt that was embedded for this answer, after cutting; 0 if nothing had to be embedded.",
        examples=[72],
    )
    truncated: list[NoteField] = Field(
        description="Fields that were too long for the prompt, so that their end was cut off.", examples=[["content"]]
    )
    vector: Vector | None = None
    suggestions: HashtaggedNote | None = Field(default=None, description="Only with `suggest`.")


class EmbedResponse(_Model):
    """The result for every note, in the order of the request. The answer arrives only when all of them are stored."""

    model: str = Field(examples=["smollm2-135m-zero-shot"])
    dimensions: int = Field(examples=[576])
    vector_name: str | None = Field(
        default=None, description="Name of the model's vectors, as `POST /admin/notes` takes it; only with `store: false`."
    )
    notes: list[EmbeddedNote]


# ---- neighbours ------------------------------------------------------------------------------------------------------


class NeighbourFilter(_Request):
    """Which neighbours are wanted."""

    limit: int = Field(default=10, ge=1, le=MAX_LIMIT, description="Maximum number of neighbours to return.")
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET, description="Number of neighbours to skip, for paging.")
    category: str | None = Field(default=None, min_length=1, max_length=200, description="Only notes in this category.")
    hashtag: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Only notes with this hashtag, in any spelling.",
    )
    created_after: UtcDatetime | None = Field(default=None, description="Only notes published after this time.")
    min_score: float | None = Field(default=None, ge=-1, le=1, description="Only notes with at least this cosine.")
    diversity: float = Field(
        default=0,
        ge=0,
        le=1,
        description="How much neighbours should differ from each other. 0: nearest first. Above 0: repeatedly picks, from the "
        f"{CANDIDATES} nearest, the note with the largest λ·cos(note, query) - (1 - λ)·max cos(note, notes picked before), "
        "where λ = 1 - diversity.",
    )


class SimilarRequest(NeighbourFilter):
    """Either `note`, which need not be stored, or `ids` of stored notes, such as a user's last reads."""

    model_config = ConfigDict(json_schema_extra={"example": {"note": EXAMPLE_TEXT, "limit": 5, "diversity": 0.3}})

    note: NoteText | None = None
    ids: list[NoteId] | None = Field(default=None, min_length=1, max_length=MAX_HISTORY)
    skip_missing: StrictBool = Field(
        default=False,
        description="True skips `ids` that are not stored and lists them in the answer, instead of answering 404.",
    )
    exclude: list[NoteId] = Field(default=[], max_length=1000, description="Ids that must not be returned.")

    @model_validator(mode="after")
    def _one_source(self) -> "SimilarRequest":
        if (self.note is None) == (self.ids is None):
            raise ValueError("give either note or ids")
        return self


class StoredNote(_Model):
    """A note as the index holds it."""

    id: str = Field(examples=["coffee-1024"])
    title: str
    content: str
    hashtags: list[str] = Field(description="The hashtags that were sent and those found inline in the text.")
    category: str | None = None
    created_at: UtcDatetime | None = None
    version: StrictInt | None = None
    content_hash: str = Field(description="SHA-256 of the fields that the embedding depends on.")


class StoredNoteWithVector(StoredNote):
    """A stored note, with its vector if it was requested."""

    vector: Vector | None = None


class Neighbour(StoredNote):
    """A stored note and how near it is."""

    score: float = Field(description="Cosine of the two vectors, from -1 to 1.", examples=[0.83])


class SimilarResponse(_Model):
    """The neighbours, nearest first; with a `diversity` above 0, in the order in which they were picked."""

    model: str
    neighbours: list[Neighbour]
    missing: list[str] | None = Field(
        default=None, description="With `skip_missing`: the ids that are not stored.", examples=[["coffee-7"]]
    )


# ---- POST /notes/hashtags --------------------------------------------------------------------------------------------


class HashtagsRequest(_Request):
    """Notes for which to suggest hashtags and a category. They are not stored."""

    model_config = ConfigDict(json_schema_extra={"example": {"notes": [EXAMPLE_TEXT], "count": 3}})

    notes: list[NoteText] = Field(min_length=1, max_length=MAX_NOTES)
    count: HashtagCount = 5
    category: WithCategory = True


class HashtagsResponse(_Model):
    """The suggestions, in the order of the request."""

    model: str
    notes: list[HashtaggedNote]


# ---- operations ------------------------------------------------------------------------------------------------------


class Health(_Model):
    """`ok`, or `failing` with the reason."""

    status: Literal["ok", "failing"]
    detail: str | None = None


class ModelInfo(_Model):
    """The served model, its engine and its index."""

    name: str
    fingerprint: str = Field(description="Differs between any two checkpoints with different content.")
    base_model: str
    prompt: dict[str, Any]
    dimensions: int
    categories: list[str]
    engine: str
    index: str
    notes: int = Field(description="Notes in the index.")
    notes_estimated: bool = Field(description="Whether `notes` is an estimate: a Qdrant server counts exactly up to a million.")
    max_tokens: int = Field(description="Tokens in the longest embedding prompt.")
    warning: str | None = Field(
        default=None, description="A warning for the operator: the embedded index holds more notes than it is made for."
    )
