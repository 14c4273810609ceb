"""The closed form on the small platform: what it learns, and that the model computes the same vectors as the fit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from notellm import NoteEncoder, NoteLLM
from notellm.prompt import NotePrompt
from training.config import TrainingConfig
from training.data import Dataset, load_dataset
from training.errors import DataError
from training.model import EMB_TOKEN, BehaviourFit, add_tokens, load_base, token_classes
from training.model.behaviour import Head, blank_tokens
from training.model.initialize import linear, random_directions
from training.model.states import state_encoder


@pytest.fixture(scope="module")
def dataset(run_config: Callable[..., TrainingConfig]) -> Dataset:
    return load_dataset(run_config(data__split={"validation": 0.3, "test": 0.1}).data)


@pytest.fixture(scope="module", params=[False, True], ids=["states", "states and tokens"])
def fitted(request: pytest.FixtureRequest, dataset: Dataset, run_config: Callable[..., TrainingConfig]) -> tuple[Any, ...]:
    causal_lm, tokenizer = load_base(run_config().model.base, torch.float32)
    add_tokens(causal_lm, tokenizer)
    prompt = NotePrompt(tokenizer, tokenizer.added_tokens_encoder[EMB_TOKEN])
    classes = token_classes(tokenizer, causal_lm.config.vocab_size) if request.param else None
    fit = BehaviourFit(state_encoder(causal_lm, prompt, "float32"), prompt, dataset, classes=classes)
    return fit, causal_lm, prompt, classes


def test_it_finds_more_of_the_behaviour_than_random_directions(fitted: tuple[Any, ...]) -> None:
    fit = fitted[0]
    solved, chance = fit.recall(fit.solve(16)), fit.recall(Head(linear(random_directions(48, 16)), None))
    assert solved is not None
    assert chance is not None
    assert solved > 1.3 * chance


def test_the_model_computes_what_was_fitted(fitted: tuple[Any, ...], dataset: Dataset) -> None:
    fit, causal_lm, prompt, classes = fitted
    head = fit.solve(16)
    assert (head.tokens is None) == (classes is None)
    assert head.projection.bias is None
    notes = [dataset.notes[note] for note in sorted(dataset.split.validation)]
    prompts = [prompt.embedding(note) for note in prompt.tokenize(notes)]
    served = NoteEncoder(NoteLLM(causal_lm, head.projection, head.tokens), prompt.embedding_prefix).encode(prompts)
    states = state_encoder(causal_lm, prompt, "float32")(notes)
    opening = len(prompt.embedding_prefix)
    np.testing.assert_allclose(served, head.vectors(states, [ids[opening:] for ids in prompts]), atol=1e-5)


def test_lengths_suit_learning_rates(fitted: tuple[Any, ...], dataset: Dataset) -> None:
    fit, causal_lm, prompt, _ = fitted
    head = fit.solve(16)
    notes = [dataset.notes[note] for note in sorted(dataset.split.train)]
    model = NoteLLM(causal_lm, head.projection, head.tokens)
    prompts = [prompt.embedding(note) for note in prompt.tokenize(notes)]
    lengths = np.linalg.norm(NoteEncoder(model, prompt.embedding_prefix).encode(prompts, normalize=False), axis=1)
    assert lengths.mean() == pytest.approx(1, rel=1e-3)


def test_blank_tokens_have_the_same_terms(fitted: tuple[Any, ...], dataset: Dataset) -> None:
    """A run that is resumed loads its vectors into them."""
    fit, _, prompt, classes = fitted
    tokens = fit.solve(16).tokens
    if classes is None:
        assert tokens is None
        return
    blank = blank_tokens(prompt, classes, dataset, 16)
    assert np.array_equal(blank.terms.rows, tokens.terms.rows)
    assert blank.weight.shape == tokens.weight.shape
    assert not blank.weight.any()


def test_fewer_notes_can_be_fitted(fitted: tuple[Any, ...], dataset: Dataset) -> None:
    _, causal_lm, prompt, classes = fitted
    asked: list[int] = []
    encode = state_encoder(causal_lm, prompt, "float32")

    def counted(notes: Any) -> Any:
        asked.append(len(notes))
        return encode(notes)

    fit = BehaviourFit(counted, prompt, dataset, classes=classes, most_notes=20)
    assert asked == [20, len(dataset.split.validation)]
    assert fit.solve(16).projection.out_features == 16


def test_too_many_dimensions_are_refused(fitted: tuple[Any, ...]) -> None:
    with pytest.raises(DataError, match="features give fewer than 1000 directions"):
        fitted[0].solve(1000)
