"""Prompts that are read together, against the plain model, one prompt at a time."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from notellm import Checkpoint
from notellm.forward import branches
from notellm.forward.branches import read_prefixes
from notellm.forward.layers import TransformersLayers
from notellm.forward.packed import read_prefix

OPENING = [5, 17, 300, 42, 8]
LONG = [*OPENING, *OPENING, 12]
PROMPTS = {
    "with an opening": [[*OPENING, 9, 33, 70], [*OPENING, 2], [*OPENING, 9, 33, 71, 12, 12, 40]],
    "without anything in common": [[1, 2, 3], [4, 2, 3], [7]],
    "equal": [[5, 6, 7], [5, 6, 7]],
    "one begins with the other": [[5, 6], [5, 6, 7, 8], [5, 6, 7]],
    "one begins with a long other": [[*OPENING, *OPENING], [*OPENING, *OPENING, 7], [*OPENING, *OPENING]],
    "two families": [[*LONG, 9], [*LONG, 10, 11], [1, *LONG, 9], [1, *LONG, 12]],
    "two questions about each of two notes": [
        [*LONG, *note, *question] for note in ([9] * 9, [10] * 12) for question in ([1, 2, 3], [4, 4])
    ],
    "a single one": [[3, 4, 5]],
    "a single token": [[3]],
}


def plain(tiny: Checkpoint, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        state: torch.Tensor = tiny.load_model().causal_lm.model(torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1]
    return state


@pytest.fixture(scope="module")
def layers(tiny: Checkpoint) -> TransformersLayers:
    return TransformersLayers(tiny.load_model().causal_lm.model)


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
@torch.inference_mode()
def test_prompts_are_read_as_if_each_were_alone(layers: TransformersLayers, prompts: list[list[int]]) -> None:
    for prompt, found in zip(prompts, read_prefixes(layers, prompts), strict=True):
        alone = read_prefix(layers, prompt)
        torch.testing.assert_close(found.state, alone.state, rtol=1e-4, atol=1e-5)
        assert found.prefix.length == len(prompt)
        for states, expected in ((found.prefix.keys, alone.prefix.keys), (found.prefix.values, alone.prefix.values)):
            for one, other in zip(states, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("two questions about each of two notes", [[11], [9, 12], [3, 2, 3, 2]]),
        ("two families", [[11, 12], [1, 2, 1, 1]]),
        ("without anything in common", [[3, 3, 1]]),
        ("with an opening", [[8, 6, 11]]),  # five shared ids are not worth a pass
        ("equal", [[3]]),
        ("one begins with a long other", [[10], [1]]),
    ],
)
def test_what_prompts_share_is_computed_once(
    layers: TransformersLayers, name: str, levels: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[list[int]] = []
    run = branches._run

    def watched(layers: Any, sequences: Sequence[Any]) -> Any:
        passes.append([len(one.ids) for one in sequences])
        return run(layers, sequences)

    monkeypatch.setattr(branches, "_run", watched)
    with torch.inference_mode():
        read_prefixes(layers, PROMPTS[name])
    assert [sorted(lengths) for lengths in passes] == [sorted(lengths) for lengths in levels]
