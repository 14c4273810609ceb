"""Which category is suggested, and how sure the model is of it."""

import math

import pytest
import torch

from notellm import Checkpoint, NoteLLM, NotePrompt, NoteText, PromptError
from notellm.categories import MOST_COMPARED, CategoryList
from notellm.ranking import ChoiceRanker, ChoiceSearch, RankedChoice

NOTES = [NoteText(title="Cold brew tastes sour", content="Grind finer?"), NoteText(title="Noisy qubits")]
NAMES = ("ai", "ai art", "beer", "coffee", "Art & Design", "手工")


@pytest.fixture(scope="module")
def prompt(tiny: Checkpoint) -> NotePrompt:
    return tiny.prompt()


@pytest.fixture(scope="module")
def model(tiny: Checkpoint) -> NoteLLM:
    return tiny.load_model()


def reference(model: NoteLLM, prompt: NotePrompt, asked: list[int], names: tuple[str, ...]) -> dict[str, float]:
    """The probability of each name among all, by one plain forward pass of transformers for each of them."""
    logs = []
    for name in names:
        answer = [*prompt.output(name), prompt.eos_token_id]
        with torch.inference_mode():
            logits = model.causal_lm(torch.tensor([[*asked, *answer]])).logits[0].log_softmax(-1)
        logs.append(sum(float(logits[len(asked) - 1 + place, token]) for place, token in enumerate(answer)))
    chances = torch.tensor(logs, dtype=torch.float64).softmax(0)
    return dict(zip(names, chances.tolist(), strict=True))


def test_the_likeliest_of_all_and_its_probability_among_them(model: NoteLLM, prompt: NotePrompt) -> None:
    listed = CategoryList(prompt, NAMES)
    ranker = ChoiceRanker(model.layers)
    for note in prompt.tokenize(NOTES):
        asked = prompt.category(note)
        chances = reference(model, prompt, asked, NAMES)
        name, confidence = listed.likeliest(ranker.rank(asked, listed.choices, listed.compared))
        assert name == max(chances, key=lambda one: chances[one])
        assert confidence == pytest.approx(chances[name], abs=1e-4)


def test_a_long_list_is_searched_and_its_likeliest_is_found(model: NoteLLM, prompt: NotePrompt) -> None:
    names = tuple(f"{kind} {number}" for kind in ("beer", "art", "music") for number in range(20))
    listed = CategoryList(prompt, names)
    assert listed.compared == MOST_COMPARED < len(listed)
    asked = prompt.category(prompt.tokenize(NOTES)[0])
    chances = reference(model, prompt, asked, names)
    search = ChoiceSearch(listed.choices, listed.compared)
    ChoiceRanker(model.layers).run([asked], [search])
    name, confidence = listed.likeliest(search.found)
    assert name == max(chances, key=lambda one: chances[one])
    assert chances[name] - 1e-5 <= confidence <= 1


def test_the_confidence_of_very_unlikely_categories(prompt: NotePrompt) -> None:
    listed = CategoryList(prompt, ["beer", "coffee"])
    ranked = [RankedChoice(tuple(prompt.output(name)), log) for name, log in (("coffee", -1000.0), ("beer", -1001.0))]
    name, confidence = listed.likeliest(ranked)
    assert name == "coffee"
    assert confidence == pytest.approx(1 / (1 + math.exp(-1)))


def test_a_name_twice_counts_once(prompt: NotePrompt) -> None:
    assert len(CategoryList(prompt, ["beer", "beer", "ai"])) == 2


def test_without_an_end_of_sequence_there_are_no_categories(prompt: NotePrompt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "eos_token_id", None)
    with pytest.raises(PromptError, match="no end-of-sequence"):
        CategoryList(prompt, ["beer"])
