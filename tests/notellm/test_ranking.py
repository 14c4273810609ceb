"""The beam search against brute force: every choice in a forward pass of its own."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from notellm import Checkpoint, NoteEncoder, NoteLLM, NotePrompt, ranking
from notellm.ranking import MOST_BEAMS, AlsoRead, ChoiceRanker, ChoiceSearch, RankedChoice
from notellm.trie import TokenTrie
from tests.conftest import NOTES

WORDS = ["cold", "brew", "beer", "qubit", "hops", "c", "co", "coffee", "咖啡", "🍺", "grind", "noisy"]


@pytest.fixture(scope="module")
def prompt(tiny: Checkpoint) -> NotePrompt:
    return tiny.prompt()


def vocabulary(size: int) -> list[str]:
    """Many of them begin with another."""
    drawn = random.Random(7)
    return sorted({"-".join(drawn.choices(WORDS, k=drawn.randint(1, 3))) for _ in range(size)})


def log_probabilities(model: NoteLLM, prompt: NotePrompt, asked: list[int], tags: list[str]) -> dict[tuple[int, ...], float]:
    """Of each tag and its end."""
    found = {}
    assert prompt.eos_token_id is not None
    for tag in tags:
        answer = [*prompt.output(tag), prompt.eos_token_id]
        with torch.inference_mode():
            logs = model.causal_lm(torch.tensor([[*asked, *answer]])).logits[0, len(asked) - 1 : -1].log_softmax(-1)
        found[tuple(answer[:-1])] = float(logs[range(len(answer)), answer].sum())
    return found


def trie(prompt: NotePrompt, tags: list[str]) -> TokenTrie:
    assert prompt.eos_token_id is not None
    return TokenTrie(map(prompt.output, tags), prompt.eos_token_id)


@pytest.mark.parametrize("count", [1, 3, 60])
def test_with_enough_beams_the_likeliest_choices_are_found(tiny_model: NoteLLM, prompt: NotePrompt, count: int) -> None:
    tags = vocabulary(40)
    for note in prompt.tokenize(NOTES):
        asked = prompt.hashtags(note, 1)
        expected = log_probabilities(tiny_model, prompt, asked, tags)
        ranked = ChoiceRanker(tiny_model.layers).rank(asked, trie(prompt, tags), count, beams=len(tags))
        best = sorted(expected, key=lambda ids: -expected[ids])[:count]
        assert [choice.ids for choice in ranked] == best
        assert [choice.log_probability for choice in ranked] == pytest.approx([expected[ids] for ids in best], abs=1e-4)


def test_few_beams_may_miss_a_choice_but_score_what_they_find_rightly(tiny_model: NoteLLM, prompt: NotePrompt) -> None:
    tags = vocabulary(40)
    asked = prompt.hashtags(prompt.tokenize(NOTES)[0], 1)
    expected = log_probabilities(tiny_model, prompt, asked, tags)
    ranked = ChoiceRanker(tiny_model.layers).rank(asked, trie(prompt, tags), 2, beams=1)
    assert len(ranked) == 2
    assert [choice.log_probability for choice in ranked] == pytest.approx([expected[choice.ids] for choice in ranked], abs=1e-4)
    assert ranked[0].log_probability >= ranked[1].log_probability


def test_a_single_choice_is_found(tiny_model: NoteLLM, prompt: NotePrompt) -> None:
    asked = prompt.hashtags(prompt.tokenize(NOTES)[4], 1)
    (only,) = ChoiceRanker(tiny_model.layers).rank(asked, trie(prompt, ["coffee"]), 5)
    assert only.ids == tuple(prompt.output("coffee"))


def test_what_is_excluded_takes_no_place(tiny_model: NoteLLM, prompt: NotePrompt) -> None:
    tags = vocabulary(40)
    asked = prompt.hashtags(prompt.tokenize(NOTES)[1], 1)
    ranker, choices = ChoiceRanker(tiny_model.layers), trie(prompt, tags)
    everything = [choice.ids for choice in ranker.rank(asked, choices, 60, beams=len(tags))]
    excluded = frozenset(everything[:5])
    without = ranker.rank(asked, choices, 3, exclude=excluded, beams=len(tags))
    assert [choice.ids for choice in without] == everything[5:8]


def test_many_exclusions_do_not_widen_the_search_without_end(
    tiny_model: NoteLLM, prompt: NotePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    advance = ChoiceSearch.advance

    def watched(self: ChoiceSearch, likeliest: Any) -> None:
        advance(self, likeliest)
        widths.append(len(self.live))

    monkeypatch.setattr(ChoiceSearch, "advance", watched)
    tags = vocabulary(400)
    excluded = frozenset(tuple(prompt.output(tag)) for tag in tags[:100])
    asked = prompt.hashtags(prompt.tokenize(NOTES)[0], 1)
    found = ChoiceRanker(tiny_model.layers).rank(asked, trie(prompt, tags), 10, exclude=excluded)
    assert not excluded & {choice.ids for choice in found}
    assert 8 < max(widths) <= MOST_BEAMS


def test_a_ranking_can_be_left_and_taken_up_between_its_steps(tiny_model: NoteLLM, prompt: NotePrompt) -> None:
    ranker, choices = ChoiceRanker(tiny_model.layers), trie(prompt, vocabulary(40))
    asked = [prompt.hashtags(note, 1) for note in prompt.tokenize(NOTES)[:2]]
    searches = [ChoiceSearch(choices, 3) for _ in asked]
    walks = [ranker.steps([ids], [search]) for ids, search in zip(asked, searches, strict=True)]
    lengths = []
    while any(search.live for search in searches):
        for walk, search in zip(walks, searches, strict=True):
            next(walk, None)
            lengths.append({len(beam.ids) for beam in search.live})
    assert lengths[:2] == [{1}, {1}]  # the prompt alone: a first token each
    for ids, search in zip(asked, searches, strict=True):
        assert search.found == ranker.rank(ids, choices, 3)


@pytest.mark.parametrize("together", [2, 99])
def test_searches_that_run_together_find_what_each_finds_alone(tiny_model: NoteLLM, prompt: NotePrompt, together: int) -> None:
    ranker, tries = ChoiceRanker(tiny_model.layers), [trie(prompt, vocabulary(40)), trie(prompt, vocabulary(7))]
    asked = [prompt.hashtags(note, 1) for note in prompt.tokenize(NOTES)]
    searches = [ChoiceSearch(tries[index % 2], 1 + index % 4) for index in range(len(asked))]
    for start in range(0, len(asked), together):
        ranker.run(asked[start : start + together], searches[start : start + together])
    for index, (ids, search) in enumerate(zip(asked, searches, strict=True)):
        expected = ranker.rank(ids, tries[index % 2], 1 + index % 4)
        assert [choice.ids for choice in search.found] == [choice.ids for choice in expected]
        assert [choice.log_probability for choice in search.found] == pytest.approx(
            [choice.log_probability for choice in expected], abs=1e-4
        )


def test_no_search_is_no_work(tiny_model: NoteLLM) -> None:
    ChoiceRanker(tiny_model.layers).run([], [])


def test_a_model_that_is_broken_is_an_error_and_no_empty_list(tiny: Checkpoint, prompt: NotePrompt) -> None:
    broken = tiny.load_model()
    with torch.no_grad():
        broken.causal_lm.model.norm.weight[0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        ChoiceRanker(broken.layers).rank(prompt.hashtags(prompt.tokenize(NOTES)[0], 1), trie(prompt, ["coffee"]), 1)


@pytest.mark.parametrize("asked", [1, 3])
def test_prompts_that_are_read_along_have_the_states_of_a_pass_of_their_own(
    tiny_model: NoteLLM, prompt: NotePrompt, asked: int
) -> None:
    ranker, tags = ChoiceRanker(tiny_model.layers), trie(prompt, vocabulary(7))
    notes = prompt.tokenize(NOTES)[:asked]
    searches = [ChoiceSearch(tags, 2) for _ in notes]
    also = AlsoRead([prompt.embedding(note) for note in notes])
    ranker.run([prompt.category(note) for note in notes], searches, also)
    encoder = NoteEncoder(tiny_model, prompt.embedding_prefix)
    np.testing.assert_allclose(encoder.finish(also.states, also.prompts), encoder.encode(also.prompts), atol=1e-5)
    for note, search in zip(notes, searches, strict=True):
        expected = ranker.rank(prompt.category(note), tags, 2)
        assert [choice.ids for choice in search.found] == [choice.ids for choice in expected]


def test_nothing_to_read_along_is_nothing(tiny_model: NoteLLM, prompt: NotePrompt) -> None:
    encoder = NoteEncoder(tiny_model, prompt.embedding_prefix)
    assert encoder.finish([], []).shape == (0, tiny_model.dimensions)


@pytest.mark.parametrize("beams", [1, 3, 8])
def test_looking_ahead_saves_passes_and_changes_nothing(
    tiny_model: NoteLLM, prompt: NotePrompt, beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = vocabulary(60)
    asked = [prompt.hashtags(note, 1) for note in prompt.tokenize(NOTES)]
    found: list[list[RankedChoice]] = []
    passes = []
    for ahead in (0, 2, 8, 1000):
        monkeypatch.setattr(ranking, "LOOK_AHEAD", ahead)
        searches = [ChoiceSearch(trie(prompt, tags), beams, beams=beams) for _ in asked]
        passes.append(sum(1 for _ in ChoiceRanker(tiny_model.layers).steps(asked, searches)))
        found.append([choice for search in searches for choice in search.found])
    assert passes == sorted(passes, reverse=True)
    assert passes[-1] == 2  # the prompts, and everything
    assert passes[0] > 2
    for other in found[1:]:
        assert [choice.ids for choice in other] == [choice.ids for choice in found[0]]
        assert [choice.log_probability for choice in other] == pytest.approx([c.log_probability for c in found[0]], abs=1e-4)
