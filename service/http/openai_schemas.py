"""Requests and responses under `/v1`, in OpenAI's form. A test sends each request's example.

Clients of OpenAI and of its imitators send what their own service understands: fields that nobody else knows, and `null` for every
option that is not set. So requests here ignore unknown fields, and `null` is the default. All other calls refuse unknown fields.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictInt, field_validator

from notellm.messages import MAX_NOTES, Encoding, Vector


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenAIEmbeddingsRequest(BaseModel):
    """OpenAI's embeddings request. Each text is read as a note's content. Unknown fields are ignored; `null` is the default."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, json_schema_extra={"example": {"input": "How fine should I grind for espresso?"}}
    )

    input: str | list[str] = Field(description="A text, or 1 to 256 texts. Token ids are not accepted.")
    model: str | None = Field(default=None, description="The served model's name; may be left out.")
    encoding_format: Encoding | None = Field(default="float", description="`float` or `base64`.")
    dimensions: StrictInt | None = Field(default=None, ge=1, description="Must be the model's own.")
    user: JsonValue = Field(default=None, description="Accepted and not used.")

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, given: object) -> object:
        """Reports one error, instead of one for each member of the union."""
        texts = given if isinstance(given, list) else [given]
        if not 1 <= len(texts) <= MAX_NOTES or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"must be a text or a list of 1 to {MAX_NOTES} texts; token ids are not accepted")
        return given


class OpenAIModel(_Answer):
    """A model that is served."""

    id: str = Field(examples=["smollm2-135m-stackexchange"])
    object: Literal["model"] = "model"
    created: int = Field(description="When its checkpoint was written, in seconds since 1970.", examples=[1796083200])
    owned_by: str = "notellm"


class OpenAIModels(_Answer):
    """The models that are served: one."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class OpenAIEmbedding(_Answer):
    """One embedding."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Vector


class OpenAIUsage(_Answer):
    """The tokens of all prompts together."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddingsResponse(_Answer):
    """OpenAI's embeddings response."""

    object: Literal["list"] = "list"
    model: str
    data: list[OpenAIEmbedding]
    usage: OpenAIUsage
