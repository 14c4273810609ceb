import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings, strategies as st

from notellm import Checkpoint, NoteEncoder, NoteLLM, NoteText, PromptError
from notellm.encoder import TOLERANCE, _lane_batches
from notellm.forward import Lanes, Pack, even_batches, token_batches
from tests.conftest import NOTES

Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def prompts(tiny: Checkpoint) -> list[list[int]]:
    prompt = tiny.prompt()
    same_length = [NoteText(title=word) for word in ("hops", "beer", "gate", "grind", "brew")]
    return [prompt.embedding(note) for note in prompt.tokenize([*NOTES, *same_length])]


@pytest.fixture(scope="module")
def reference(tiny_model: NoteLLM, prompts: list[list[int]]) -> Vectors:
    with torch.inference_mode():
        return torch.stack([tiny_model(torch.tensor(prompt)) for prompt in prompts]).numpy()


def largest_difference(vectors: Vectors, reference: Vectors) -> float:
    return float(np.abs(vectors - reference).max())


@pytest.mark.parametrize("max_batch_tokens", [1, 30, 100, 100_000])
def test_vectors_equal_the_plain_forward_pass(
    max_batch_tokens: int, tiny: Checkpoint, tiny_model: NoteLLM, prompts: list[list[int]], reference: Vectors
) -> None:
    encoder = NoteEncoder(tiny_model, tiny.prompt().embedding_prefix, max_batch_tokens=max_batch_tokens)
    vectors = encoder.encode(prompts)
    assert vectors.dtype == np.float32
    assert largest_difference(vectors, reference) <= TOLERANCE
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_vector_does_not_depend_on_its_company(
    tiny_encoder: NoteEncoder, prompts: list[list[int]], reference: Vectors
) -> None:
    rng = random.Random(1)
    for position in range(len(prompts)):
        others = [other for other in range(len(prompts)) if other != position]
        rng.shuffle(others)
        for company in ([position], [position, *others], [*others, position], [*others[:3], position, *others[3:]]):
            vectors = tiny_encoder.encode([prompts[member] for member in company])
            assert largest_difference(vectors[company.index(position)], reference[position]) <= TOLERANCE


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=12), seed=st.integers(0, 9))
def test_any_mix_of_lengths(
    lengths: list[int], seed: int, tiny: Checkpoint, tiny_model: NoteLLM, tiny_encoder: NoteEncoder
) -> None:
    rng = random.Random(seed)
    prefix = list(tiny.prompt().embedding_prefix)
    prompts = [prefix + [rng.randrange(3, 300) for _ in range(length)] for length in lengths]
    with torch.inference_mode():
        reference = torch.stack([tiny_model(torch.tensor(prompt)) for prompt in prompts]).numpy()
    assert largest_difference(tiny_encoder.encode(prompts), reference) <= TOLERANCE


def shifted(pack: Pack) -> Pack:
    return replace(pack, position_ids=pack.position_ids + 1)


def leaking(pack: Pack) -> Pack:
    return replace(pack, runs=(replace(pack.runs[0], count=1, length=pack.input_ids.shape[1]),))


def one_too_early(pack: Pack) -> Pack:
    return replace(pack, last=pack.last - 1)


@pytest.fixture
def faulty(tiny: Checkpoint, tiny_model: NoteLLM) -> Callable[[Callable[[Pack], Pack]], NoteEncoder]:
    """An encoder that packs wrongly."""

    def make(fault: Callable[[Pack], Pack]) -> NoteEncoder:
        encoder = NoteEncoder(tiny_model, tiny.prompt().embedding_prefix)
        assert encoder.packed
        forward = encoder._states
        encoder._states = lambda pack: forward(fault(pack))
        return encoder

    return make


@pytest.mark.parametrize("fault", [shifted, one_too_early])
def test_the_check_notices_a_wrong_forward_pass(
    fault: Callable[[Pack], Pack],
    faulty: Callable[[Callable[[Pack], Pack]], NoteEncoder],
    prompts: list[list[int]],
    reference: Vectors,
) -> None:
    assert largest_difference(faulty(fault).encode(prompts), reference) > 10 * TOLERANCE


def test_sequences_that_would_see_each_other_are_refused(
    faulty: Callable[[Callable[[Pack], Pack]], NoteEncoder], prompts: list[list[int]]
) -> None:
    with pytest.raises(ValueError, match="hold 1 of"):
        faulty(leaking).encode(prompts)


@pytest.mark.parametrize("name", ["scaling", "rotation", "embed"])
def test_layers_that_compute_something_else_are_noticed_and_the_plain_pass_is_used(
    name: str, tiny: Checkpoint, prompts: list[list[int]], reference: Vectors, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """As those of a LLaMA of another make would."""
    model, layers = tiny.load_model(), tiny.load_model().layers
    if name == "scaling":
        layers.scaling *= 2
    elif name == "rotation":
        rotation = layers.rotation
        monkeypatch.setattr(layers, "rotation", lambda positions: rotation(2 * positions))
    else:
        embed = layers.embed
        monkeypatch.setattr(layers, "embed", lambda ids: 3 * embed(ids))
    monkeypatch.setattr(NoteLLM, "layers", property(lambda self: layers))
    encoder = NoteEncoder(model, tiny.prompt().embedding_prefix, max_batch_tokens=100)
    assert not encoder.packed
    assert "using the plain one" in caplog.text
    assert largest_difference(encoder.encode(prompts), reference) <= TOLERANCE


def test_the_check_notices_a_dropped_prefix_token(
    tiny: Checkpoint, tiny_model: NoteLLM, prompts: list[list[int]], reference: Vectors
) -> None:
    prefix = list(tiny.prompt().embedding_prefix)
    short = [*prefix[:5], *prefix[6:]]
    encoder = NoteEncoder(tiny_model, short)
    vectors = encoder.encode([short + prompt[len(prefix) :] for prompt in prompts])
    assert largest_difference(vectors, reference) > 10 * TOLERANCE


def test_prompts_that_do_not_continue_the_prefix(tiny: Checkpoint, tiny_encoder: NoteEncoder, prompts: list[list[int]]) -> None:
    prefix = list(tiny.prompt().embedding_prefix)
    for wrong in (prefix, [*prefix[1:], 5, 5], []):
        with pytest.raises(PromptError, match="prompt 1 must start with the 30 ids"):
            tiny_encoder.encode([prompts[0], wrong])


def test_nothing_to_encode(tiny_encoder: NoteEncoder) -> None:
    assert tiny_encoder.encode([]).shape == (0, 48)


def test_the_encoder_shares_the_weights_and_leaves_the_model_as_it_is(tiny: Checkpoint, prompts: list[list[int]]) -> None:
    model = tiny.load_model()
    before = model.causal_lm.config._attn_implementation
    encoder = NoteEncoder(model, tiny.prompt().embedding_prefix)
    vectors = encoder.encode(prompts)
    with torch.no_grad():
        model.causal_lm.model.layers[-1].mlp.down_proj.weight.mul_(2)
    assert largest_difference(encoder.encode(prompts), vectors) > 10 * TOLERANCE  # no copy of it
    assert model.causal_lm.config._attn_implementation == before


@given(lengths=st.lists(st.integers(1, 50), max_size=30), max_tokens=st.integers(1, 120))
def test_batches_hold_every_prompt_once_within_the_budget(lengths: list[int], max_tokens: int) -> None:
    batches = list(token_batches(lengths, max_tokens))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    flat = [lengths[index] for batch in batches for index in batch]
    assert flat == sorted(flat)
    for batch in batches:
        assert batch
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= max_tokens


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60), max_tokens=st.integers(50, 300), lanes=st.integers(2, 4))
def test_even_batches_hold_every_prompt_once_and_end_together(lengths: list[int], max_tokens: int, lanes: int) -> None:
    batches = even_batches(lengths, max_tokens, lanes)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    tokens = [sum(lengths[index] for index in batch) for batch in batches]
    assert tokens == sorted(tokens, reverse=True)
    assert all(tokens)
    assert all(len(batch) == 1 or found <= max_tokens for batch, found in zip(batches, tokens, strict=True))
    if sum(lengths) + lanes * max(lengths) <= lanes * max_tokens:  # room for one batch a lane
        assert len(batches) <= lanes
        assert tokens[0] <= sum(lengths) / lanes + max(lengths)


def test_two_lanes_share_two_equal_notes() -> None:
    assert even_batches([92, 92], 1024, 2) == [[1], [0]]


@pytest.mark.parametrize(
    ("lengths", "worth"),
    [
        ([90] * 12, True),
        ([90] * 11, True),  # one lane has a twelfth more
        ([300] * 3, False),  # one lane has twice as much
        ([90] * 4, False),  # too few tokens
        ([5000], False),  # one note cannot be divided
        ([], False),
    ],
)
def test_lanes_are_used_where_they_are_worth_it(lengths: list[int], worth: bool) -> None:
    assert bool(_lane_batches(lengths, 1024, 2)) == worth


@pytest.mark.parametrize("max_batch_tokens", [30, 100, 100_000])
def test_lanes_give_the_same_vectors(
    max_batch_tokens: int, tiny: Checkpoint, tiny_model: NoteLLM, prompts: list[list[int]], reference: Vectors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("notellm.encoder._LANE_TOKENS", 1)
    monkeypatch.setattr("notellm.encoder._UNEVEN", 10)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # whatever other tests have set
    used: list[int] = []
    plain_map = Lanes.map

    def counting(lanes: Lanes, function: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
        used.append(len(jobs))
        return plain_map(lanes, function, jobs)

    monkeypatch.setattr(Lanes, "map", counting)
    prefix = tiny.prompt().embedding_prefix
    side_by_side = NoteEncoder(tiny_model, prefix, max_batch_tokens=max_batch_tokens)
    assert largest_difference(side_by_side.encode(prompts), reference) <= TOLERANCE
    assert used
    assert used[0] >= 2
    together = NoteEncoder(tiny_model, prefix, max_batch_tokens=max_batch_tokens, lanes=False)
    assert largest_difference(together.encode(prompts), reference) <= TOLERANCE
    side_by_side.encode(prompts[:1])  # a single note gets all threads
    assert len(used) == 1


def test_a_bfloat16_model_gives_unit_float32_vectors(
    tiny: Checkpoint, prompts: Sequence[list[int]], reference: Vectors
) -> None:
    encoder = NoteEncoder(tiny.load_model(torch.bfloat16), tiny.prompt().embedding_prefix)
    assert encoder.packed
    vectors = encoder.encode(prompts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * reference).sum(1).min() > 0.99
