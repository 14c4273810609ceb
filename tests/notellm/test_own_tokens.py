"""A note's own tokens are those of its fields, whatever the template and whatever the note says."""

import pytest
from transformers import PreTrainedTokenizerBase

from notellm import NotePrompt, NoteText
from notellm.own_tokens import PromptFrame
from notellm.prompt import TEMPLATES, PromptSettings, PromptVersion
from tests.conftest import NOTES
from training.model import EMB_TOKEN


def prompt_of(tokenizer: PreTrainedTokenizerBase, version: PromptVersion) -> NotePrompt:
    with_emb = type(tokenizer).from_pretrained(tokenizer.name_or_path) if tokenizer.name_or_path else tokenizer
    with_emb.add_tokens([EMB_TOKEN], special_tokens=True)
    return NotePrompt(with_emb, with_emb.added_tokens_encoder[EMB_TOKEN], PromptSettings(version=version))


@pytest.mark.parametrize("version", [*TEMPLATES])
@pytest.mark.parametrize("kind", ["bpe_tokenizer", "sentencepiece_tokenizer"])
def test_own_tokens_are_those_of_the_fields(kind: str, version: PromptVersion, request: pytest.FixtureRequest) -> None:
    prompt = prompt_of(request.getfixturevalue(kind), version)
    for note in prompt.tokenize([*NOTES, NoteText(content="only content"), NoteText(hashtags=("only", "tags"))]):
        fields = [id_ for name in prompt.template.labels for id_ in getattr(note, name)]
        assert prompt.frame.own(prompt.embedding(note)[len(prompt.embedding_prefix) :]) == fields
        if note.title or note.content:
            asked = prompt.hashtags_example(note, ("tea", "cup"))
            without_topic = [id_ for name in prompt.template.labels if name != "topic" for id_ in getattr(note, name)]
            assert prompt.frame.own(asked.ids[asked.opening : asked.embedding + 1]) == without_topic


FRAME = PromptFrame(opening=(1, 2), labels=((7, 8), (7, 9)), closing=(5, 6))


@pytest.mark.parametrize(
    ("ids", "own"),
    [
        ([7, 8, 7, 9, 5, 6], []),
        ([3, 7, 8, 4, 7, 9, 3, 5, 6], [3, 4, 3]),
        ([3, 7, 9, 4, 5, 6], [3, 4]),  # without the first label
        ([3, 4, 5, 6], [3, 4]),  # without labels
        ([7, 7, 8, 7, 3, 7, 9, 7, 5, 6], [7, 7, 3, 7]),  # the first token of a label is also the note's
        ([3, 5, 6, 7, 8, 5, 6], [3, 5, 6]),  # the note says what the frame says
        ([3], [3]),  # no prompt
        ([], []),
    ],
)
def test_what_is_left_of_a_prompt(ids: list[int], own: list[int]) -> None:
    assert FRAME.own(ids) == own
