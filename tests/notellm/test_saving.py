"""A checkpoint is written completely, or not at all."""

import copy
from pathlib import Path

import pytest
import torch

from notellm import Checkpoint, CheckpointError, NoteLLM
from notellm.saving import CheckpointFacts, save_checkpoint


def test_saving_over_something_is_refused_and_leaves_it(tiny: Checkpoint, tiny_model: NoteLLM, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    facts = CheckpointFacts(name="again", base_model="tiny")
    with pytest.raises(CheckpointError, match="already exists"):
        save_checkpoint(tmp_path, tiny_model, tiny.tokenizer, facts)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_failed_save_leaves_nothing_behind(tiny: Checkpoint, tiny_model: NoteLLM, tmp_path: Path) -> None:
    facts = CheckpointFacts(name="again", base_model="tiny", emb_token="[NOPE]")
    with pytest.raises(CheckpointError, match=r"\[NOPE\] does not have the id"):
        save_checkpoint(tmp_path / "out", tiny_model, tiny.tokenizer, facts)
    assert list(tmp_path.iterdir()) == []


def test_saving_twice_gives_the_same_vectors(tiny: Checkpoint, tiny_model: NoteLLM, tmp_path: Path) -> None:
    facts = CheckpointFacts(name="again", base_model="tiny", metrics={"recall@10": 0.1}, hashtag_vocabulary=("咖啡",))
    again = save_checkpoint(tmp_path / "out", tiny_model, tiny.tokenizer, facts)
    assert again.manifest.metrics == {"recall@10": 0.1}
    assert again.fingerprint != tiny.fingerprint
    prompt = torch.tensor(tiny.prompt().embedding_prefix)
    assert torch.equal(again.load_model()(prompt), tiny_model(prompt))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["projection", "layer"])
def test_weights_that_are_not_finite_are_not_written(
    tiny: Checkpoint, tiny_model: NoteLLM, tmp_path: Path, place: str, number: float
) -> None:
    """Such a checkpoint would be served, and each request would get a 500."""
    broken = copy.deepcopy(tiny_model)
    weight = broken.projection.weight if place == "projection" else broken.causal_lm.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        weight[0, 0] = number
    with pytest.raises(
        CheckpointError, match=r"was not written: (the projection|model.layers.1.mlp.up_proj.weight) would hold"
    ):
        save_checkpoint(tmp_path / "out", broken, tiny.tokenizer, CheckpointFacts(name="again", base_model="tiny"))
    assert list(tmp_path.iterdir()) == []


def test_token_vectors_too_large_for_half_precision_are_not_written(tokens_path: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tokens_path)
    model = checkpoint.load_model()
    assert model.tokens is not None
    with torch.no_grad():
        model.tokens.weight[0, 0] = 70_000  # half precision ends at 65,504
    with pytest.raises(CheckpointError, match="the token vectors, in half precision would hold numbers that are not finite"):
        save_checkpoint(tmp_path / "out", model, checkpoint.tokenizer, CheckpointFacts(name="again", base_model="tiny"))
