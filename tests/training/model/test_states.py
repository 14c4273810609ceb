"""The hidden states that a projection is fitted to."""

import numpy as np
import pytest
import torch
import torch.distributed as dist

from notellm import Checkpoint, Note, NoteLLM
from training.model import states
from training.model.states import shared_over_processes, state_encoder

NOTES = [Note(id=str(number), title=f"cold brew {number}", hashtags=("tea",)) for number in range(5)]


def test_states_are_those_before_the_compression_token(
    tiny: Checkpoint, tiny_model: NoteLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "_PART", 2)
    prompt, causal_lm = tiny.prompt(), tiny_model.causal_lm
    found = state_encoder(causal_lm, prompt, "float32")(NOTES)
    with torch.inference_mode():
        for note, state in zip(prompt.tokenize(NOTES), found, strict=True):
            expected = causal_lm.model(torch.tensor([prompt.embedding(note)])).last_hidden_state[0, -1]
            np.testing.assert_allclose(state, expected.numpy(), atol=1e-4)


def test_lower_precision_leaves_the_model_as_it_is(tiny: Checkpoint, tiny_model: NoteLLM) -> None:
    before = {name: value.clone() for name, value in tiny_model.causal_lm.state_dict().items()}
    exact, rounded = (
        state_encoder(tiny_model.causal_lm, tiny.prompt(), precision)(NOTES) for precision in ("float32", "bfloat16")
    )
    assert 0 < np.abs(exact - rounded).max() < 0.3
    assert all(torch.equal(value, before[name]) for name, value in tiny_model.causal_lm.state_dict().items())


def test_no_notes_have_no_states(tiny: Checkpoint, tiny_model: NoteLLM) -> None:
    assert state_encoder(tiny_model.causal_lm, tiny.prompt(), "float32")([]).shape == (0, 48)


def test_processes_share_the_notes_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes, one after the other: each computes its share, and all get all states in order."""
    asked: list[list[str]] = []

    def encode(notes: object) -> np.ndarray:
        asked.append([note.id for note in notes])  # type: ignore[attr-defined]
        return np.array([[float(one)] for one in asked[-1]], np.float32)

    shares = [encode(NOTES[rank::3]) for rank in range(3)]
    asked.clear()
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(dist, "all_gather_object", lambda into, mine: into.__setitem__(slice(None), shares))
    for rank in range(3):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        assert shared_over_processes(encode)(NOTES)[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert asked == [["0", "3"], ["1", "4"], ["2"]]
