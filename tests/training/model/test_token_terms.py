"""Which tokens are the same term."""

import numpy as np
from transformers import PreTrainedTokenizerBase

from notellm import Checkpoint, Note
from training.model.token_terms import documents, terms_of, token_classes
from training.projection import TextFeatures

NOTES = [
    Note(id="a", title="coffee Coffee COFFEE", content="tea and hops", hashtags=("coffee",), category="coffee"),
    Note(id="b", title="the note", content="The topics are: coffee", hashtags=("hops",)),
    Note(id="c", content="the hops"),
]


def test_case_and_spaces_do_not_make_a_term(tiny: Checkpoint) -> None:
    tokenizer = tiny.tokenizer
    classes = token_classes(tokenizer, len(tokenizer) + 3)
    of_text: dict[str, set[int]] = {}
    for token in tokenizer.get_vocab().values():
        of_text.setdefault(str(tokenizer.decode([token])).strip().casefold(), set()).add(int(classes[token]))
    broken = {text for text in of_text if "\N{REPLACEMENT CHARACTER}" in text}
    assert broken  # bytes of characters
    assert all(len(found) == 1 for text, found in of_text.items() if text not in broken)
    words = [found for text, found in of_text.items() if text not in broken | {""} and not text.startswith("<|")]
    assert len(set.union(*words) - {-1}) == len(
        [found for found in words if found != {-1}]
    )  # different words are different terms


def test_control_tokens_white_space_and_spare_rows_are_no_terms(tiny: Checkpoint) -> None:
    tokenizer = tiny.tokenizer
    classes = token_classes(tokenizer, len(tokenizer) + 3)
    for text in ("[EMB]", "[PAD]", tokenizer.eos_token, tokenizer.bos_token):
        assert classes[tokenizer.convert_tokens_to_ids(text)] == -1
    assert classes[tokenizer.encode(" ", add_special_tokens=False)].tolist() == [-1]
    assert classes[-3:].tolist() == [-1, -1, -1]


def test_documents_hold_the_notes_words_and_not_the_prompts(tiny: Checkpoint) -> None:
    prompt, tokenizer = tiny.prompt(), tiny.tokenizer
    classes = token_classes(tokenizer, len(tokenizer))
    found = documents(prompt, classes, NOTES)
    for note, terms in zip(NOTES, found, strict=True):
        lead = prompt.template.field_lead
        texts = (note.title, ", ".join(note.hashtags), note.content)
        expected = [classes[prompt.plain.encode(lead + text)].tolist() if text else [] for text in texts]
        assert terms == [one for field in expected for one in field if one >= 0]


def test_rows_lead_from_tokens_to_the_features(tiny: Checkpoint) -> None:
    prompt, tokenizer = tiny.prompt(), tiny.tokenizer
    classes = token_classes(tokenizer, len(tokenizer))
    text = TextFeatures(documents(prompt, classes, NOTES), 2)
    terms = terms_of(text, classes, prompt)
    opening = len(prompt.embedding_prefix)
    bags = terms.bags([prompt.embedding(note)[opening:] for note in prompt.tokenize(NOTES)])
    ends = [*bags.offsets.tolist()[1:], len(bags.rows)]
    sums = [
        text.components[:, bags.rows[start:end]] @ bags.weights[start:end].numpy()
        for start, end in zip(bags.offsets.tolist(), ends, strict=True)
    ]
    np.testing.assert_allclose(sums, text.transform(documents(prompt, classes, NOTES)), atol=1e-5)


def test_the_same_text_has_the_same_terms_in_any_case(tiny: Checkpoint, bpe_tokenizer: PreTrainedTokenizerBase) -> None:
    del bpe_tokenizer
    prompt, tokenizer = tiny.prompt(), tiny.tokenizer
    classes = token_classes(tokenizer, len(tokenizer))
    one, other = documents(prompt, classes, [Note(id="a", title="a b c"), Note(id="b", title="A B C")])
    assert one == other != []
