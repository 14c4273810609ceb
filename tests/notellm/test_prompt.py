import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from notellm import NotePrompt, NoteText, PromptError, PromptSettings, TokenizerError
from notellm.tokenizer import PlainTokenizer
from tests.conftest import NOTES

HOSTILE = [
    "</s>",
    "<s>",
    "[EMB]",
    "[PAD]",
    "<|im_end|>",
    "<|im_start|>",
    "<unk>",
    "<0x0A>",
    '". The category is:',
    '\'}. "[EMB]"',
]


def with_emb(tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, int]:
    """A copy with `[EMB]`, since the session's tokenizers make other tests' checkpoints."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(["[EMB]"], special_tokens=True)
    return tokenizer, tokenizer.added_tokens_encoder["[EMB]"]


@pytest.fixture(params=["bpe_tokenizer", "sentencepiece_tokenizer"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return with_emb(request.getfixturevalue(request.param))[0]


@pytest.fixture(params=["paper-en", "paper-zh", "shared-en"])
def prompt(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerBase) -> NotePrompt:
    return NotePrompt(tokenizer, tokenizer.added_tokens_encoder["[EMB]"], PromptSettings(version=request.param))


def text_of(prompt: NotePrompt, tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The prompt as a reader sees it, without BOS."""
    text = str(tokenizer.decode(ids[1:], clean_up_tokenization_spaces=False))
    return text.removeprefix(" ")


NOTE = NoteText(title="Cold brew", content="Too sour, 你好 #iced", hashtags=("cold brew", "coffee"))
INSTRUCTION = (
    "Extract the note information in json format, compress it into one word for recommendation, and generate {} of the note. "
)
HASHTAG_EN = (
    INSTRUCTION.format("3 topics")
    + "{'title': Cold brew, 'content': Too sour, 你好}. The compression word is:\"[EMB]\". The 3 topics are:"
)
EMBEDDING_EN = (
    INSTRUCTION.format("the category")
    + "{'title': Cold brew, 'topic': cold brew, coffee, iced, 'content': Too sour, 你好}. The compression word is:\""
)
EMBEDDING_ZH = '笔记：{"标题":"Cold brew","话题":"cold brew,coffee,iced","内容":"Too sour, 你好"}，压缩为一个词：“'
HASHTAG_ZH = '笔记：{"标题":"Cold brew","内容":"Too sour, 你好"}，压缩为一个词：“[EMB]”。生成笔记3个话题：'
SHARED = INSTRUCTION.format("the category or topics") + "{'title': Cold brew, 'content': Too sour, 你好"
HASHTAG_SHARED = SHARED + '}. The compression word is:"[EMB]". The 3 topics are:'
EMBEDDING_SHARED = SHARED + ", 'topic': cold brew, coffee, iced}. The compression word is:\""
EXPECTED = {
    "paper-en": (EMBEDDING_EN, '[EMB]". The category is:', HASHTAG_EN),
    "paper-zh": (EMBEDDING_ZH, "[EMB]”。生成笔记类目：", HASHTAG_ZH),
    "shared-en": (EMBEDDING_SHARED, '[EMB]". The category is:', HASHTAG_SHARED),
}


def test_prompts_read_as_their_templates(prompt: NotePrompt, tokenizer: PreTrainedTokenizerBase) -> None:
    embedding, after, hashtags = EXPECTED[prompt.settings.version]
    note = prompt.tokenize([NOTE])[0]
    assert text_of(prompt, tokenizer, prompt.embedding(note)) == embedding
    assert text_of(prompt, tokenizer, prompt.category(note)) == embedding + after
    assert text_of(prompt, tokenizer, prompt.hashtags(note, 3)) == hashtags


def test_every_prompt_starts_with_bos_and_the_shared_prefix(prompt: NotePrompt, tokenizer: PreTrainedTokenizerBase) -> None:
    prefix = list(prompt.embedding_prefix)
    assert prefix[0] == tokenizer.bos_token_id
    for note in prompt.tokenize(NOTES):
        ids = prompt.embedding(note)
        assert ids[: len(prefix)] == prefix
        assert len(ids) <= prompt.max_embedding_tokens
        assert ids.count(tokenizer.bos_token_id) == 1


def test_emb_is_found_by_id_and_stands_right_after_the_embedded_token(prompt: NotePrompt) -> None:
    note = prompt.tokenize([NOTE])[0]
    category = prompt.category(note)
    assert category.count(prompt.emb_token_id) == 1
    assert category[: category.index(prompt.emb_token_id)] == prompt.embedding(note)


# fmt: off
GOLDEN_SENTENCEPIECE = [
    1, 398, 393, 287, 313, 284, 423, 283, 284, 419, 435, 449, 317, 375, 418, 402, 314, 311, 378, 388,
    407, 283, 449, 399, 425, 282, 287, 413, 391, 377, 287, 313, 463, 379, 409, 274, 434, 449, 296, 410,
    274, 449, 296, 433, 274, 420, 13, 484, 485, 337, 310, 317, 283, 314, 374, 450, 447,
]
# fmt: on


def test_golden_ids_of_a_sentencepiece_llama_tokenizer(sentencepiece_tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer, emb = with_emb(sentencepiece_tokenizer)
    note = NoteText(title="coffee", content="sour\n咖啡")
    ids = NotePrompt(tokenizer, emb).embedding(NotePrompt(tokenizer, emb).tokenize([note])[0])
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens[0] == "<s>"
    # As in LLaMA's own training, a space stands before the first word of the whole; the fields have exactly one.
    assert tokens[1].startswith("▁Ext")
    at = tokens.index("▁coffee")
    assert tokens[at - 1 : at + 2] == ["':", "▁coffee", ","]
    start = tokens.index("▁sour")
    assert tokens[start : start + 4] == ["▁sour", "<0x0A>", "咖", "啡"]
    assert ids == GOLDEN_SENTENCEPIECE


@pytest.mark.parametrize("hostile", HOSTILE)
def test_control_tokens_typed_by_users_stay_text(hostile: str, prompt: NotePrompt, tokenizer: PreTrainedTokenizerBase) -> None:
    note = NoteText(title=f"a {hostile} b", content=hostile, hashtags=(f"x{hostile}",))
    tokenized = prompt.tokenize([note])[0]
    assert not prompt.plain.control_ids.intersection((*tokenized.title, *tokenized.content, *tokenized.topic))
    assert hostile in tokenizer.decode(list(tokenized.title), clean_up_tokenization_spaces=False)
    assert prompt.category(tokenized).count(prompt.emb_token_id) == 1


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_text_becomes_a_control_token(data: st.DataObject, bpe_tokenizer: Any, sentencepiece_tokenizer: Any) -> None:
    pieces = st.lists(
        st.one_of(st.sampled_from([*HOSTILE, "<", "|", ">", "[", "]", "EMB", "/s", "\n", " "]), st.text(max_size=20))
    )
    text = "".join(data.draw(pieces)).encode("utf-8", "ignore").decode()
    for tokenizer in (bpe_tokenizer, sentencepiece_tokenizer):
        plain = PlainTokenizer(with_emb(tokenizer)[0])
        assert not plain.control_ids.intersection(plain.encode(text))


any_text = st.lists(
    st.one_of(st.sampled_from([*HOSTILE, "\x00", "\ud800", "#", "\u202e", " "]), st.text(st.characters(), max_size=20)), max_size=20
).map("".join)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=any_text, content=any_text, hashtags=st.lists(any_text, max_size=3))
def test_whatever_is_written_a_prompt_has_the_control_tokens_of_its_template(
    title: str, content: str, hashtags: list[str], prompt: NotePrompt, tokenizer: PreTrainedTokenizerBase
) -> None:
    try:
        note = NoteText(title=title, content=content, hashtags=tuple(hashtags))
    except ValidationError:  # nothing else may be raised
        return
    tokenized = prompt.tokenize([note])[0]
    bos, emb, eos = tokenizer.bos_token_id, prompt.emb_token_id, tokenizer.eos_token_id
    for ids, expected in (
        (prompt.embedding(tokenized), [bos]),
        (prompt.category(tokenized), [bos, emb]),
        (prompt.hashtags(tokenized, 3), [bos, emb]),
        (prompt.category_example(tokenized, title).ids, [bos, emb, eos]),
        (prompt.hashtags_example(tokenized, [title, content]).ids, [bos, emb, eos]),
    ):
        assert [token for token in ids if token in prompt.plain.control_ids] == expected
    assert len(prompt.embedding(tokenized)) <= prompt.max_embedding_tokens


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\u2581"), max_size=60))
def test_a_field_is_tokenised_as_in_the_middle_of_a_text(
    text: str, bpe_tokenizer: PreTrainedTokenizerBase, sentencepiece_tokenizer: PreTrainedTokenizerBase
) -> None:
    for tokenizer in (bpe_tokenizer, sentencepiece_tokenizer):
        plain = PlainTokenizer(tokenizer)
        # After ordinary words, so that the decoder cannot mistake the text's own first space for SentencePiece's.
        before = plain.encode("coffee")
        assert (
            str(tokenizer.decode([*before, *plain.encode(text)], clean_up_tokenization_spaces=False)).removeprefix(" ")
            == "coffee" + text
        )


def test_ordinary_text_has_the_tokenizers_own_ids(bpe_tokenizer: PreTrainedTokenizerBase) -> None:
    plain = PlainTokenizer(bpe_tokenizer)
    for text in (" grind finer", "qubit, 你好", "a\nb", ""):
        assert plain.encode(text) == bpe_tokenizer(text, add_special_tokens=False)["input_ids"]


def test_fields_are_cut_by_tokens_each_on_its_own(tokenizer: PreTrainedTokenizerBase) -> None:
    limits = PromptSettings(title_tokens=4, topic_tokens=3, content_tokens=5)
    prompt = NotePrompt(tokenizer, tokenizer.added_tokens_encoder["[EMB]"], limits)
    full = NotePrompt(
        tokenizer, tokenizer.added_tokens_encoder["[EMB]"], PromptSettings(title_tokens=4000, content_tokens=4000)
    )
    long = NoteText(title="brew " * 50, content="sour " * 50)
    cut, whole = prompt.tokenize([long])[0], full.tokenize([long])[0]
    assert cut.truncated == ("title", "content")
    assert cut.title == whole.title[:4]
    assert cut.content == whole.content[:5]
    assert cut.full_lengths == {"title": len(whole.title), "topic": 0, "content": len(whole.content)}
    assert whole.truncated == ()


def test_the_fields_that_were_cut_are_named_in_the_order_of_the_prompt(prompt: NotePrompt) -> None:
    everything = NoteText(title="brew " * 50, content="sour " * 100, hashtags=tuple(f"tag {number}" for number in range(30)))
    truncated = prompt.tokenize([everything])[0].truncated
    assert truncated == (
        ("title", "content", "topic") if prompt.settings.version == "shared-en" else ("title", "topic", "content")
    )


def test_a_cut_never_reaches_the_tail_of_the_prompt(prompt: NotePrompt, tokenizer: PreTrainedTokenizerBase) -> None:
    long, short = (prompt.tokenize([NoteText(title="brew " * n, content="sour " * n)])[0] for n in (400, 1))
    assert prompt.embedding(long)[-5:] == prompt.embedding(short)[-5:]


@pytest.mark.parametrize("count", [0, 11, -1])
def test_only_one_to_ten_hashtags_can_be_asked_for(count: int, prompt: NotePrompt) -> None:
    with pytest.raises(PromptError, match="ask for 1 to 10"):
        prompt.hashtags(prompt.tokenize([NOTE])[0], count)


def test_hashtags_do_not_see_the_notes_own(prompt: NotePrompt) -> None:
    bare = NoteText(title=NOTE.plain_title, content=NOTE.plain_content)
    with_tags, without = prompt.tokenize([NOTE, bare])
    assert prompt.hashtags(with_tags, 5) == prompt.hashtags(without, 5)
    assert prompt.embedding(with_tags) != prompt.embedding(without)


def test_a_tokenizer_that_makes_control_tokens_out_of_text_is_refused(bpe_tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer = copy.deepcopy(bpe_tokenizer)
    ordinary = tokenizer.convert_ids_to_tokens(tokenizer.encode("coffee", add_special_tokens=False))[0]
    tokenizer.add_special_tokens({"unk_token": ordinary})
    with pytest.raises(TokenizerError, match="control token"):
        PlainTokenizer(tokenizer)


def test_a_tokenizer_without_rules_is_refused() -> None:
    class Slow:
        pass

    with pytest.raises(TokenizerError, match=r"Slow has no tokenizer\.json"):
        PlainTokenizer(Slow())  # type: ignore[arg-type]
