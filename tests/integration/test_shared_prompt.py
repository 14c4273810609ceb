"""Under `shared-en` vLLM computes what the prompts of one note share once, under `paper-en` only their identical beginning."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from notellm import Checkpoint, NotePrompt, NoteText, PromptSettings
from notellm.hashtags import choice_pattern, hashtag_list_pattern
from notellm.prompt import PromptVersion
from service.engines import GenerationRequest
from service.engines.vllm import VllmEngine
from service.engines.vllm_process import BLOCK, VllmOptions
from tests.conftest import CATEGORIES
from tests.notellm.test_shared_prompt import shared
from training.model import InitialCheckpoint

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow("starts vLLM"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("vllm"),
    # What importing vLLM warns of, in its own code and what it imports.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

OPTIONS = VllmOptions(cache_bytes=64 * 2**20, lanes=8, threads=2)
TITLE, CONTENT = "Cold brew tastes sour", "I steeped it for twelve hours in the fridge, the beans are a light roast. " * 3
TAGGED = NoteText(title=TITLE, content=CONTENT, hashtags=("coffee", "cold brew"))
BARE = NoteText(title=TITLE, content=CONTENT)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, bpe_tokenizer: PreTrainedTokenizerBase) -> Checkpoint:
    """Random weights; vLLM's attention for CPUs has kernels for heads of 32 and more."""
    folder = tmp_path_factory.mktemp("shared")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(bpe_tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
        initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    bpe_tokenizer.save_pretrained(folder / "base")
    return InitialCheckpoint(
        base=str(folder / "base"), output=folder / "checkpoint", name="shared", categories=CATEGORIES,
        prompt=PromptSettings(version="shared-en"),
    ).make()  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vllm(checkpoint: Checkpoint) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(checkpoint, checkpoint.prompt(), OPTIONS, max_batch_tokens=2048, stall_seconds=0.25)
    await engine.open()
    llm = engine._supervisor.get()
    yield engine
    await engine.close()
    # vLLM leaves it to the garbage collector, whose warning would be an error here.
    llm.engine_core.resources.ctx.destroy(linger=0)


class Watched:
    """vLLM, with how many tokens of each request came from its cache."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self.cached: dict[tuple[int, ...], int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)

    async def generate(self, prompt: dict[str, list[int]], *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async for output in self._llm.generate(prompt, *arguments, **options):
            self.cached[tuple(prompt["prompt_token_ids"])] = output.num_cached_tokens
            yield output


@pytest_asyncio.fixture(loop_scope="module")
async def watched(vllm: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """What the engine asks, with an empty cache."""
    watched = Watched(vllm._supervisor.get())
    assert await watched.reset_prefix_cache()
    monkeypatch.setattr(vllm._supervisor, "get", lambda: watched)
    return watched


def requests_of(checkpoint: Checkpoint, version: PromptVersion, note: NoteText) -> tuple[NotePrompt, list[GenerationRequest]]:
    """Generation of hashtags and of a category. Ids are all that vLLM gets, so one serves both templates."""
    prompt = NotePrompt(checkpoint.tokenizer, checkpoint.manifest.emb_token_id, PromptSettings(version=version))
    (tokenized,) = prompt.tokenize([note])
    listing = hashtag_list_pattern(3, lead=" ", separator=", ")
    hashtags = GenerationRequest(tuple(prompt.hashtags(tokenized, 3)), listing, 24, bare_spaces=False)
    category = choice_pattern(checkpoint.manifest.categories, lead=" ")
    return prompt, [hashtags, GenerationRequest(tuple(prompt.category(tokenized)), category, 24)]


@pytest.mark.parametrize("note", [TAGGED, BARE], ids=["tagged", "bare"])
@pytest.mark.parametrize("version", ["shared-en", "paper-en"])
async def test_the_hashtag_request_finds_what_the_category_request_computed(
    vllm: VllmEngine, checkpoint: Checkpoint, watched: Watched, version: PromptVersion, note: NoteText
) -> None:
    prompt, (hashtags, category) = requests_of(checkpoint, version, note)
    await vllm.generate([category])
    await vllm.generate([hashtags])
    same, opening = len(shared(category.prompt, hashtags.prompt)), len(prompt.embedding_prefix)
    whole_blocks = BLOCK * (same // BLOCK)
    assert watched.cached == {category.prompt: 0, hashtags.prompt: whole_blocks}
    assert whole_blocks > opening + BLOCK if version == "shared-en" else 0 < same < opening


async def test_requests_at_the_same_time_share_too_and_are_answered_as_alone(
    vllm: VllmEngine, checkpoint: Checkpoint, watched: Watched
) -> None:
    _, requests = requests_of(checkpoint, "shared-en", BARE)
    together = await vllm.generate(requests)
    same = len(shared(requests[0].prompt, requests[1].prompt))
    assert sorted(watched.cached.values()) == [0, BLOCK * (same // BLOCK)]
    for request, expected in zip(requests, together, strict=True):
        assert await watched.reset_prefix_cache()
        (alone,) = await vllm.generate([request])
        assert watched.cached[request.prompt] == 0
        assert (alone.text, alone.finished) == (expected.text, expected.finished)
        assert [piece.probability for piece in alone.pieces] == pytest.approx(
            [piece.probability for piece in expected.pieces], abs=1e-4
        )
