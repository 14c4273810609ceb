"""Requests and responses of the HTTP interface, each with an example that a test sends."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt, field_validator, model_validator

from notellm.note import HashtagText, Note, NoteId, NoteText, UtcDatetime
from notellm.prompt import MAX_HASHTAGS, MIN_HASHTAGS
from service.notes import CANDIDATES, NoteField
from service.settings import MAX_NOTES

MAX_LIMIT = 100
MAX_OFFSET = 10_000
MAX_HISTORY = 100

Encoding = Literal["float", "base64"]
Vector = Annotated[
    list[float] | str,
    Field(description="Unit vector: numbers, or with `base64` the little-endian float32 bytes.", examples=[[0.6, 0.8]]),
]
Confidence = Annotated[float, Field(ge=0, le=1, description="How sure the model is, from its token probabilities.")]

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
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Request(_Model):
    """A request body. Unknown fields are refused."""


# ---- POST /notes/embed -----------------------------------------------------------------------------------------------


class EmbedRequest(_Request):
    """Notes to embed."""

    model_config = ConfigDict(json_schema_extra={"example": {"notes": [EXAMPLE_NOTE]}})

    notes: list[Note] = Field(min_length=1, max_length=MAX_NOTES, description="No id may stand twice.")
    store: StrictBool = Field(default=True, description="False embeds without storing.")
    strict: StrictBool = Field(default=False, description="True refuses a note that is too long, instead of cutting it.")
    vectors: StrictBool = Field(default=True, description="False leaves the vectors out of the answer.")
    encoding_format: Encoding = "float"


class EmbeddedNote(_Model):
    """What became of one note."""

    id: str = Field(examples=["coffee-1024"])
    status: Literal["stored", "unchanged", "stale", "embedded"] = Field(
        description="`stored`: new or changed, now in the index. `unchanged`: it was there already. `stale`: the index holds a "
        "higher `version`, which was kept, or the note was deleted in this version or a higher one. `embedded`: not stored, as asked."
    )
    tokens: int = Field(
        ge=0,
        description="Tokens of the prompt that was embedded for this answer, after the cut; 0 if nothing had to be embedded.",
        examples=[72],
    )
    truncated: list[NoteField] = Field(
        description="Fields that were too long for that prompt and lost their end.", examples=[["content"]]
    )
    vector: Vector | None = None


class EmbedResponse(_Model):
    """Every note of the request, in its order. It arrives only when all of them are stored."""

    model: str = Field(examples=["smollm2-135m-zero-shot"])
    dimensions: int = Field(examples=[576])
    vector_name: str | None = Field(
        default=None, description="Whose vectors these are, as `POST /admin/notes` takes it; with `store: false` only."
    )
    notes: list[EmbeddedNote]


# ---- neighbours ------------------------------------------------------------------------------------------------------


class NeighbourFilter(_Request):
    """Which neighbours are wanted."""

    limit: int = Field(default=10, ge=1, le=MAX_LIMIT, description="Most neighbours to return.")
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET, description="Neighbours to skip, for paging.")
    category: str | None = Field(default=None, min_length=1, max_length=200, description="Only notes of this category.")
    hashtag: str | None = Field(
        default=None, min_length=1, max_length=100, description="Only notes with this hashtag, however it is written."
    )
    created_after: UtcDatetime | None = Field(default=None, description="Only notes published after this time.")
    min_score: float | None = Field(default=None, ge=-1, le=1, description="Only notes with at least this cosine.")
    diversity: float = Field(
        default=0,
        ge=0,
        le=1,
        description=f"How much neighbours should differ from each other. 0: nearest first. More: of the {CANDIDATES} nearest, always the "
        "one next with the largest λ·cos(it, query) - (1 - λ)·max cos(it, those before it), where λ = 1 - diversity.",
    )


class SimilarRequest(NeighbourFilter):
    """Either `note`, which need not be stored, or `ids` of stored notes, such as a user's last reads."""

    model_config = ConfigDict(json_schema_extra={"example": {"note": EXAMPLE_TEXT, "limit": 5, "diversity": 0.3}})

    note: NoteText | None = None
    ids: list[NoteId] | None = Field(default=None, min_length=1, max_length=MAX_HISTORY)
    skip_missing: StrictBool = Field(
        default=False, description="True passes over `ids` that are not stored, and names them in the answer, instead of a 404."
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
    hashtags: list[str] = Field(description="Those given and those found inline.")
    category: str | None = None
    created_at: UtcDatetime | None = None
    version: StrictInt | None = None
    content_hash: str = Field(description="SHA-256 of what the embedding depends on.")


class StoredNoteWithVector(StoredNote):
    """A stored note, with its vector where that was asked for."""

    vector: Vector | None = None


class Neighbour(StoredNote):
    """A stored note and how near it is."""

    score: float = Field(description="Cosine of the two vectors, from -1 to 1.", examples=[0.83])


class SimilarResponse(_Model):
    """The neighbours, nearest first, or in the order that the diversity asked for gives them."""

    model: str
    neighbours: list[Neighbour]
    missing: list[str] | None = Field(
        default=None, description="With `skip_missing`: the ids that are not stored.", examples=[["coffee-7"]]
    )


# ---- POST /notes/hashtags --------------------------------------------------------------------------------------------


class HashtagsRequest(_Request):
    """Notes that want hashtags and a category. They are not stored."""

    model_config = ConfigDict(json_schema_extra={"example": {"notes": [EXAMPLE_TEXT], "count": 3}})

    notes: list[NoteText] = Field(min_length=1, max_length=MAX_NOTES)
    count: StrictInt = Field(default=5, ge=MIN_HASHTAGS, le=MAX_HASHTAGS, description="Most hashtags a note.")
    category: StrictBool = Field(default=True, description="False leaves the category out, which is faster.")


class SuggestedHashtag(_Model):
    """A hashtag that the note does not have yet."""

    hashtag: HashtagText = Field(examples=["french-press"])
    confidence: Confidence


class SuggestedCategory(_Model):
    """A category out of the checkpoint's list."""

    category: str = Field(examples=["coffee"])
    confidence: Confidence


class HashtaggedNote(_Model):
    """The suggestions for one note."""

    hashtags: list[SuggestedHashtag] = Field(description="May be empty: none is a valid answer.")
    category: SuggestedCategory | None = Field(default=None, description="Missing when the checkpoint lists no categories.")
    tokens: int = Field(ge=1, description="Length of the hashtag prompt, after the cut.")
    truncated: list[NoteField]


class HashtagsResponse(_Model):
    """The suggestions, in the order of the request."""

    model: str
    notes: list[HashtaggedNote]


# ---- POST /v1/embeddings (OpenAI's convention) -----------------------------------------------------------------------


class OpenAIEmbeddingsRequest(BaseModel):
    """OpenAI's embeddings request. Each text is read as a note's content."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"example": {"input": "How fine should I grind for espresso?"}}
    )

    input: str | list[str] = Field(description="A text, or 1 to 256 texts. Token ids are not accepted.")
    model: str | None = Field(default=None, description="The served model's name, or nothing.")
    encoding_format: Encoding = "float"
    dimensions: StrictInt | None = Field(default=None, ge=1, description="Must be the model's own.")
    user: str | None = Field(default=None, description="Accepted and not used.")

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, given: object) -> object:
        """One rule with one name, instead of one for each member of the union."""
        texts = given if isinstance(given, list) else [given]
        if not 1 <= len(texts) <= MAX_NOTES or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"must be a text or a list of 1 to {MAX_NOTES} texts; token ids are not accepted")
        return given


class OpenAIEmbedding(_Model):
    """One embedding."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Vector


class OpenAIUsage(_Model):
    """Tokens of all prompts."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddingsResponse(_Model):
    """OpenAI's embeddings response."""

    object: Literal["list"] = "list"
    model: str
    data: list[OpenAIEmbedding]
    usage: OpenAIUsage


# ---- operations ------------------------------------------------------------------------------------------------------


class Health(_Model):
    """`ok`, or what is wrong."""

    status: Literal["ok", "failing"]
    detail: str | None = None


class ModelInfo(_Model):
    """What is served."""

    name: str
    fingerprint: str = Field(description="Differs between any two checkpoints with different content.")
    base_model: str
    prompt: dict[str, Any]
    dimensions: int
    categories: list[str]
    engine: str
    index: str
    notes: int = Field(description="Notes in the index.")
    max_tokens: int = Field(description="Longest embedding prompt.")
    warning: str | None = Field(
        default=None, description="What the operator should know: the embedded index has become too large for its way."
    )
