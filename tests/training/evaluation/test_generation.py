"""Generation by the tiny model: random words, but by the rules."""

import pytest
import torch

from notellm import Checkpoint, Note
from tests.conftest import CATEGORIES
from training.evaluation.embedding import LoadedCheckpoint
from training.evaluation.generation import Generator, score_categories

NOTES = [
    Note(id="1", title="Cold brew tastes sour", content="Steeped for 12 hours. " * 8, category="coffee"),
    Note(id="2", title="Qubits", category="quantum computing"),
    Note(id="3", title="Hops", hashtags=("beer",), category="beer"),
]


@pytest.fixture(scope="module")
def generator(tiny: Checkpoint) -> Generator:
    return Generator(LoadedCheckpoint("tiny", tiny))


def test_a_constrained_category_is_in_the_list(generator: Generator) -> None:
    free = generator.categories(NOTES)
    constrained = generator.categories(NOTES, CATEGORIES)
    assert set(constrained) <= set(CATEGORIES)
    assert free != constrained  # an untrained model does not find the words by itself
    scores = score_categories(free, constrained, NOTES, CATEGORIES)
    assert scores.illusion == [1, 1, 1]
    assert scores.accuracy == [0, 0, 0]


def test_a_constrained_category_is_the_likeliest_at_its_first_token(generator: Generator, tiny: Checkpoint) -> None:
    """Brute force: the choices' first tokens differ, so greedy search takes the one with the highest logit."""
    model, prompt = tiny.load_model(), tiny.prompt()
    first = {prompt.output(category)[0]: category for category in ("beer", "coffee", "quantum computing")}
    if len(first) < len(CATEGORIES):  # a common leading space: longer prefixes are needed to tell them apart
        pytest.fail("the tiny tokenizer splits all categories alike")
    for note, answer in zip(NOTES, generator.categories(NOTES, CATEGORIES), strict=True):
        ids = torch.tensor([prompt.category(prompt.tokenize([note])[0])])
        with torch.no_grad():
            logits = model.causal_lm(ids).logits[0, -1]
        assert answer == first[max(first, key=lambda token, logits=logits: float(logits[token]))]  # type: ignore[misc]


def test_batching_changes_nothing(generator: Generator) -> None:
    together = generator.categories(NOTES)
    assert together == [generator.categories([note])[0] for note in NOTES]


def test_hashtags_are_clean_and_not_too_many(generator: Generator) -> None:
    for tags in generator.hashtags(NOTES, 2):
        assert len(tags) <= 2
        assert all(tag == tag.strip() and "#" not in tag for tag in tags)


def test_ranked_hashtags_are_the_likeliest_of_the_vocabulary(generator: Generator, tiny: Checkpoint) -> None:
    """Brute force: the log-likelihood of every hashtag and its end, each in a forward pass of its own."""
    vocabulary = ["cold-brew", "cold", "beer", "qubit", "hops"]  # one begins with another, fewer than there are beams
    model, prompt = tiny.load_model().causal_lm, tiny.prompt()
    assert prompt.eos_token_id is not None
    for note, ranked in zip(NOTES, generator.ranked_hashtags(NOTES, 3, vocabulary), strict=True):
        asked = prompt.hashtags(prompt.tokenize([note])[0], 1)
        likelihood = {}
        for tag in vocabulary:
            answer = [*prompt.output(tag), prompt.eos_token_id]
            with torch.no_grad():
                logs = model(torch.tensor([[*asked, *answer]])).logits[0, len(asked) - 1 : -1].log_softmax(-1)
            likelihood[tag] = float(logs[range(len(answer)), answer].sum())
        assert ranked == sorted(vocabulary, key=lambda tag: -likelihood[tag])[:3]


def test_no_vocabulary_no_ranked_hashtags(generator: Generator) -> None:
    assert generator.ranked_hashtags(NOTES, 3, []) == [[], [], []]


def test_category_scores_by_hand() -> None:
    scores = score_categories(["Coffee", "tea", "coffee"], ["coffee", "beer", "beer"], NOTES, CATEGORIES)
    assert (scores.accuracy, scores.illusion, scores.constrained_accuracy) == ([1, 0, 0], [0, 1, 0], [1, 0, 1])
