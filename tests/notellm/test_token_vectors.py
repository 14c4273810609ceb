"""Token vectors against their definition, in the model, and in files."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from notellm import Checkpoint, NoteEncoder, NoteText
from notellm.checkpoint import MANIFEST, FileDigest, manifest_digest
from notellm.errors import CheckpointError
from notellm.int8 import Int8NoteLLM
from notellm.own_tokens import PromptFrame
from notellm.token_vectors import TokenTerms, TokenVectors
from tests.conftest import NOTES

FRAME = PromptFrame(opening=(0,), labels=((9,),), closing=(8, 8))
# Tokens 1 and 2 are one term, 3 is another; 4 does not count.
TERMS = TokenTerms(np.array([-1, 0, 0, 1, -1, -1, -1, -1, -1, -1]), np.array([1.5, 2.0], np.float32), FRAME)
VECTORS = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])


def test_terms_are_counted_and_weighted() -> None:
    bags = TERMS.bags([[1, 9, 2, 3, 4, 8, 8], [9, 8, 8], [3, 9, 3, 3, 8, 8]])
    assert bags.rows.tolist() == [0, 1, 1]
    assert bags.offsets.tolist() == [0, 2, 2]
    twice, once = (1 + math.log(2)) * 1.5, 2.0
    length = math.hypot(twice, once)
    assert bags.weights.tolist() == pytest.approx([twice / length, once / length, 1.0])


def test_a_note_adds_its_weighted_vectors() -> None:
    tokens = TokenVectors(TERMS, VECTORS)
    added = tokens.of_prompts([[3, 9, 8, 8], [9, 4, 8, 8], [1, 9, 3, 8, 8]])
    first, second = 1.5 / math.hypot(1.5, 2), 2 / math.hypot(1.5, 2)
    expected = torch.stack([VECTORS[1], torch.zeros(3), first * VECTORS[0] + second * VECTORS[1]])
    torch.testing.assert_close(added.detach(), expected)
    assert tokens.of_prompts([]).shape == (0, 3)


def test_gradients_reach_only_the_vectors_of_the_terms() -> None:
    tokens = TokenVectors(TERMS, VECTORS)
    tokens.of_prompts([[3, 9, 8, 8]]).sum().backward()
    assert tokens.weight.grad is not None
    assert tokens.weight.grad.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_the_fast_pass_and_int8_and_the_plain_pass_agree(tokens_path: Path) -> None:
    checkpoint = Checkpoint.open(tokens_path)
    model, prompt = checkpoint.load_model(), checkpoint.prompt()
    notes = [*NOTES, NoteText(title="espresso and grinder", hashtags=("coffee",))]
    prompts = [prompt.embedding(note) for note in prompt.tokenize(notes)]
    vectors = NoteEncoder(model, prompt.embedding_prefix).encode(prompts)
    for ids, vector in zip(prompts, vectors, strict=True):
        with torch.inference_mode():
            np.testing.assert_allclose(vector, model(torch.tensor(ids)).numpy(), atol=1e-5)
    rounded = NoteEncoder(Int8NoteLLM(model), prompt.embedding_prefix).encode(prompts)
    assert (rounded * vectors).sum(axis=1).min() > 0.98
    model.tokens = None
    without = NoteEncoder(model, prompt.embedding_prefix).encode(prompts)
    assert np.abs(without[-1] - vectors[-1]).max() > 0.05  # its words count


def resealed(path: Path, version: int = 2) -> None:
    """Writes the digests again after a file was changed."""
    content = json.loads((path / MANIFEST).read_text(encoding="utf-8")) | {"format_version": version}
    content["files"] = {name: FileDigest.of(path / name).model_dump() for name in content["files"]}
    content["digest"] = manifest_digest(content)
    (path / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def copy(tokens_path: Path, tmp_path: Path) -> Path:
    for source in tokens_path.rglob("*"):
        if source.is_file():
            target = tmp_path / "copy" / source.relative_to(tokens_path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return tmp_path / "copy"


def test_files_keep_what_was_saved(tokens_path: Path) -> None:
    checkpoint = Checkpoint.open(tokens_path)
    assert checkpoint.manifest.format_version == 2
    tokens = checkpoint.load_token_vectors()
    assert tokens is not None
    stored = load_file(tokens_path / "2_Dense" / "tokens.safetensors")
    assert stored["weight"].dtype == torch.float16
    assert torch.equal(tokens.weight, stored["weight"].float())
    assert tokens.terms.frame == checkpoint.prompt().frame
    assert len(tokens.terms.rows) == checkpoint.load_model().causal_lm.config.vocab_size


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": torch.full((5,), 10_000, dtype=torch.int32)}, "its rows do not fit its weight of shape"),
        ({"weight": torch.zeros(3, 16)}, "its rows do not fit its weight of shape (3, 16)"),
        ({"weight": torch.zeros(1000, 16)}, "vectors"),
        ({"weight": torch.zeros(3)}, "its rows do not fit its weight of shape (3,)"),
        ({"more": torch.zeros(3)}, "it holds idf, more, rows, weight instead of idf, rows, weight"),
    ],
)
def test_broken_token_vectors_are_refused(change: dict[str, torch.Tensor], message: str, copy: Path) -> None:
    file = copy / "2_Dense" / "tokens.safetensors"
    save_file(load_file(file) | change, file)
    resealed(copy)
    with pytest.raises(CheckpointError, match="cannot be used as token vectors") as caught:
        Checkpoint.open(copy).load_model()
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_vectors_of_another_length_are_refused(copy: Path) -> None:
    file = copy / "2_Dense" / "tokens.safetensors"
    stored = load_file(file)
    save_file(stored | {"weight": stored["weight"][:, :4].contiguous()}, file)
    resealed(copy)
    with pytest.raises(CheckpointError, match=r"has vectors of length 4, but notellm\.json says 16"):
        Checkpoint.open(copy).load_model()


def test_a_frame_that_cannot_be_read_is_refused(copy: Path) -> None:
    (copy / "2_Dense" / "frame.json").write_text("{}")
    resealed(copy)
    with pytest.raises(CheckpointError, match="cannot be used as token vectors"):
        Checkpoint.open(copy).load_model()


def test_a_plain_checkpoint_has_none(tiny: Checkpoint) -> None:
    assert tiny.manifest.format_version == 1
    assert tiny.load_token_vectors() is None
