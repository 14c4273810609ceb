"""How much of a note's prompts is the same: under `shared-en` all of the note that both may see, under the paper's nothing of it."""

from collections.abc import Callable, Sequence
from itertools import takewhile

import pytest
from hypothesis import given, settings, strategies as st
from transformers import PreTrainedTokenizerBase

from notellm import NotePrompt, NoteText, PromptSettings
from notellm.hashtags import MAX_COUNT
from notellm.prompt import PromptVersion
from tests.notellm.test_prompt import with_emb

Prompts = Callable[[PromptVersion], NotePrompt]
TAGGED = NoteText(title="Cold brew", content="Too sour, 你好", hashtags=("coffee", "iced"))
BARE = NoteText(title="Cold brew", content="Too sour, 你好")


def prompt_of(tokenizer: PreTrainedTokenizerBase, version: PromptVersion) -> NotePrompt:
    return NotePrompt(*with_emb(tokenizer), PromptSettings(version=version))


@pytest.fixture(params=["bpe_tokenizer", "sentencepiece_tokenizer"])
def prompts(request: pytest.FixtureRequest) -> Prompts:
    return lambda version: prompt_of(request.getfixturevalue(request.param), version)


def shared(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """The ids that both start with."""
    return [mine for mine, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))]


def text_of(prompt: NotePrompt, ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.decode(ids[1:], clean_up_tokenization_spaces=False)).removeprefix(" ")


@pytest.mark.parametrize("fixture", ["bpe_tokenizer", "sentencepiece_tokenizer"])
def test_what_the_prompts_of_one_note_share(fixture: str, request: pytest.FixtureRequest) -> None:
    tokenizer, _ = with_emb(request.getfixturevalue(fixture))
    expected: dict[PromptVersion, tuple[str, str]] = {
        "shared-en": ("'content': Too sour, 你好", '. The compression word is:"[EMB]". The'),
        "paper-en": ("recommendation, and generate", "recommendation, and generate"),
    }
    for version, ends in expected.items():
        prompt = prompt_of(tokenizer, version)
        for note, end in zip(prompt.tokenize([TAGGED, BARE]), ends, strict=True):
            same = shared(prompt.category(note), prompt.hashtags(note, 3))
            assert text_of(prompt, same, tokenizer).endswith(end), version


def test_without_hashtags_the_embedding_prompt_begins_both_others(prompts: Prompts) -> None:
    prompt = prompts("shared-en")
    bare, tagged = prompt.tokenize([BARE, TAGGED])
    embedding = prompt.embedding(bare)
    for count in range(1, MAX_COUNT + 1):
        assert prompt.hashtags(bare, count)[: len(embedding) + 1] == [*embedding, prompt.emb_token_id]
    assert prompt.category(bare)[: len(embedding) + 1] == [*embedding, prompt.emb_token_id]
    assert prompt.hashtags(tagged, 3) == prompt.hashtags(bare, 3)


def test_the_paper_prompts_of_a_note_part_before_the_note(prompts: Prompts) -> None:
    prompt = prompts("paper-en")
    (note,) = prompt.tokenize([BARE])
    assert 1 < len(shared(prompt.category(note), prompt.hashtags(note, 3))) < len(prompt.embedding_prefix)
    assert len(shared(prompt.hashtags(note, 2), prompt.hashtags(note, 3))) < len(prompt.embedding_prefix)


def test_all_examples_of_training_have_the_opening_of_the_embedding(prompts: Prompts) -> None:
    prompt = prompts("shared-en")
    (note,) = prompt.tokenize([TAGGED])
    examples = [
        prompt.embedding_example(note),
        prompt.category_example(note, "coffee"),
        prompt.hashtags_example(note, ["iced"]),
        prompt.hashtags_example(note, ["iced", "coffee"]),
    ]
    assert {example.ids[: example.opening] for example in examples} == {prompt.embedding_prefix}


@settings(max_examples=100, deadline=None)
@given(title=st.text(max_size=60), content=st.text(max_size=200), hashtags=st.lists(st.text(max_size=12), max_size=5))
def test_whatever_a_note_holds_its_prompts_part_only_behind_it(
    title: str, content: str, hashtags: list[str],
    bpe_tokenizer: PreTrainedTokenizerBase, sentencepiece_tokenizer: PreTrainedTokenizerBase,
) -> None:  # fmt: skip
    note = NoteText(title=f"x{title}", content=content, hashtags=tuple(hashtags))
    for tokenizer in (bpe_tokenizer, sentencepiece_tokenizer):
        prompt = prompt_of(tokenizer, "shared-en")
        filled, example = prompt.tokenize([note, TAGGED])
        embedding, asked = prompt.embedding(filled), prompt.hashtags(filled, 3)
        assert len(embedding) <= prompt.max_embedding_tokens
        if filled.topic:
            # What is not shared is what follows every note.
            rest = prompt.hashtags(example, 3)[len(shared(prompt.embedding(example), prompt.hashtags(example, 3))) :]
            assert asked[len(shared(embedding, asked)) :] == rest
            assert str(tokenizer.decode(rest)).startswith("}.")
        else:
            assert asked[: len(embedding)] == embedding


# fmt: off
GOLDEN_NOTE = [
    1, 398, 393, 287, 313, 284, 423, 283, 284, 419, 435, 449, 317, 375, 418, 402, 314, 311, 378, 388, 407, 283, 449, 399, 425,
    282, 287, 413, 391, 438, 262, 264, 408, 377, 287, 313, 463, 379, 409, 274, 434, 449, 296, 433, 274, 420, 13, 484, 485,
]
GOLDEN_TOPIC = [449, 296, 410, 274, 414]
GOLDEN_COMPRESSION = [337, 310, 317, 283, 314, 374, 450, 447]
GOLDEN_GUIDANCE = [447, 463, 310, 438, 54, 264, 408, 400, 450]
# fmt: on


def test_golden_ids_of_a_sentencepiece_llama_tokenizer(sentencepiece_tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = prompt_of(sentencepiece_tokenizer, "shared-en")
    (note,) = prompt.tokenize([NoteText(title="coffee", content="sour\n咖啡", hashtags=("cold",))])
    assert prompt.embedding(note) == GOLDEN_NOTE + GOLDEN_TOPIC + GOLDEN_COMPRESSION
    assert prompt.hashtags(note, 3) == [*GOLDEN_NOTE, *GOLDEN_COMPRESSION, prompt.emb_token_id, *GOLDEN_GUIDANCE]
