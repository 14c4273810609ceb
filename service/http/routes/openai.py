"""`/v1`: the part of OpenAI's interface that applies here, so that existing clients and tools work."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from notellm.errors import NoteError
from notellm.note import MAX_CONTENT_CHARS, NoteText
from service.errors import InvalidRequest, ModelNotFound
from service.http.openai_schemas import (
    OpenAIEmbedding,
    OpenAIEmbeddingsRequest,
    OpenAIEmbeddingsResponse,
    OpenAIModel,
    OpenAIModels,
    OpenAIUsage,
)
from service.http.problems import describe_problems
from service.http.routes.common import (
    EVERY_CALL,
    READS_BODY,
    RUNS_MODEL,
    ServedDep,
    SettingsDep,
    check_caller,
    encode_vector,
)
from service.serving import ServedModel

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"], dependencies=[Depends(check_caller)])


@router.post("/embeddings", responses=describe_problems(*EVERY_CALL, *READS_BODY, *RUNS_MODEL))
async def embeddings(body: OpenAIEmbeddingsRequest, served: ServedDep, settings: SettingsDep) -> OpenAIEmbeddingsResponse:
    """Embeds texts, each as the content of a note without a title. Nothing is stored.

    Token ids are not accepted as input: the service writes the prompt, and ids could smuggle control tokens into it.
    """
    manifest = served.notes.manifest
    if body.model not in (None, manifest.name):
        raise InvalidRequest.of("model", "unknown_model", f"{manifest.name} is served, not {body.model[:100]!r}")
    if body.dimensions not in (None, manifest.dimensions):
        raise InvalidRequest.of("dimensions", "unsupported", f"the model gives {manifest.dimensions} dimensions")
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > settings.max_notes_per_request:
        raise InvalidRequest.of(
            "input", "too_long", f"at most {settings.max_notes_per_request} texts per request, but there are {len(texts)}"
        )
    embedded = await served.notes.embed_texts([_note(text, position) for position, text in enumerate(texts)], field="input")
    tokens = sum(text.tokens for text in embedded)
    return OpenAIEmbeddingsResponse(
        model=manifest.name,
        data=[
            OpenAIEmbedding(index=position, embedding=encode_vector(text.vector, body.encoding_format or "float"))
            for position, text in enumerate(embedded)
        ],
        usage=OpenAIUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


@router.get("/models", responses=describe_problems(*EVERY_CALL))
async def models(served: ServedDep) -> OpenAIModels:
    """Lists the model that answers."""
    return OpenAIModels(data=[_model(served)])


# Other services have slashes in such names, so that a name with one is a model that is not found, not a path.
@router.get("/models/{model:path}", responses=describe_problems(*EVERY_CALL, ModelNotFound))
async def model(
    model: Annotated[
        str,
        Path(description="The model's name.", openapi_examples={"served": {"value": "smollm2-135m-stackexchange"}}),
    ],
    served: ServedDep,
) -> OpenAIModel:
    """Describes the model that answers."""
    if model != served.notes.manifest.name:
        raise ModelNotFound.of(model, served.notes.manifest.name)
    return _model(served)


def _model(served: ServedModel) -> OpenAIModel:
    return OpenAIModel(id=served.notes.manifest.name, created=served.created)


def _note(text: str, position: int) -> NoteText:
    if len(text) > MAX_CONTENT_CHARS:
        raise InvalidRequest.of(f"input[{position}]", "string_too_long", f"at most {MAX_CONTENT_CHARS} characters")
    try:
        return NoteText(content=text)
    except (NoteError, ValueError) as error:
        raise InvalidRequest.of(f"input[{position}]", "empty", "the text is empty") from error
