import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, BertConfig, BertModel, LlamaForCausalLM, PreTrainedTokenizerBase

from notellm import Checkpoint, CheckpointError, Note, NoteEncoder
from training.errors import BaseModelError, DataError
from training.model.initialize import InitialCheckpoint, centring_projection, random_directions

NOTES = [Note(id=f"n{n}", title=f"brew {n} sour", category="ab"[n % 2], hashtags=("Coffee", f"t{n % 3}")) for n in range(12)]


def make(base: Path, output: Path, **options: object) -> Checkpoint:
    return InitialCheckpoint(base=str(base), output=output, name="made", **options).make()  # type: ignore[arg-type]


def embed(checkpoint: Checkpoint) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    prompt = checkpoint.prompt()
    encoder = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix)
    return encoder.encode([prompt.embedding(note) for note in prompt.tokenize(NOTES)])


def test_without_notes_the_projection_is_the_identity(tiny: Checkpoint) -> None:
    projection = tiny.load_model().projection
    assert torch.equal(projection.weight, torch.eye(48))
    assert projection.bias is None


def test_the_base_keeps_its_weights_and_gets_two_rows(tiny: Checkpoint, tiny_base: Path) -> None:
    base: Any = LlamaForCausalLM.from_pretrained(tiny_base)
    made: Any = tiny.load_model().causal_lm
    before, after = base.get_input_embeddings().weight, made.get_input_embeddings().weight
    assert after.shape[0] == before.shape[0] + 2
    assert torch.equal(after[: len(before)], before)
    torch.testing.assert_close(after[len(before)], before.mean(0))
    assert torch.equal(made.model.layers[2].mlp.up_proj.weight, base.model.layers[2].mlp.up_proj.weight)
    assert made.get_output_embeddings().weight is made.get_input_embeddings().weight


def test_a_base_with_more_rows_than_tokens(tiny: Checkpoint, tiny_base: Path, tmp_path: Path) -> None:
    """Many bases have rows without a token, all zero. A new token that takes one of them gets a row like the others."""
    shutil.copytree(tiny_base, tmp_path / "base")
    model: Any = LlamaForCausalLM.from_pretrained(tiny_base)
    tokens = model.config.vocab_size
    model.resize_token_embeddings(tokens + 64, mean_resizing=False)
    model.get_input_embeddings().weight.data[tokens:] = 0
    model.save_pretrained(tmp_path / "base")
    made = make(tmp_path / "base", tmp_path / "made")
    causal_lm: Any = made.load_model().causal_lm
    rows = causal_lm.get_input_embeddings().weight
    assert rows.shape[0] == tokens + 64
    added = made.manifest.emb_token_id
    assert added == tokens
    torch.testing.assert_close(rows[added], rows[:tokens].mean(0))
    assert not rows[tokens + 2 :].any()
    np.testing.assert_allclose(embed(made), embed(tiny), atol=1e-5)


def test_a_sample_of_notes_centres_the_vectors(tiny: Checkpoint, tiny_base: Path, tmp_path: Path) -> None:
    centred = make(tiny_base, tmp_path / "centred", notes=NOTES)
    plain, spread = embed(tiny), embed(centred)
    assert (spread @ spread.T).mean() < 0.2 < (plain @ plain.T).mean()
    assert centred.manifest.categories == ("a", "b")
    assert centred.manifest.hashtag_vocabulary == ("Coffee", "t0", "t1", "t2")
    assert centred.manifest.data_fingerprint is not None


def test_fewer_dimensions_by_largest_variance_or_at_random(tiny_base: Path, tmp_path: Path) -> None:
    fitted = make(tiny_base, tmp_path / "fitted", notes=NOTES, dim=6)
    drawn = make(tiny_base, tmp_path / "drawn", dim=16)
    assert (fitted.manifest.dimensions, drawn.manifest.dimensions) == (6, 16)
    assert embed(fitted).shape == (len(NOTES), 6)
    directions = drawn.load_model().projection.weight
    torch.testing.assert_close(directions @ directions.T, torch.eye(16), atol=1e-5, rtol=0)
    assert torch.equal(random_directions(48, 16), random_directions(48, 16))


def test_the_centring_projection_against_its_definition() -> None:
    torch.manual_seed(3)
    states = torch.randn(30, 8) @ torch.diag(torch.tensor([9.0, 5, 3, 1, 0.5, 0.3, 0.2, 0.1])) + 7
    full, cut = centring_projection(states, 0), centring_projection(states, 3)
    torch.testing.assert_close(full(states), states - states.mean(0), atol=1e-4, rtol=1e-4)
    projected = cut(states)
    torch.testing.assert_close(projected.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    kept = projected.var(0).sum() / states.var(0).sum()
    eigenvalues = torch.linalg.eigvalsh(torch.cov(states.T)).flip(0)
    torch.testing.assert_close(kept, eigenvalues[:3].sum() / eigenvalues.sum(), atol=1e-4, rtol=1e-4)


def test_an_untied_base_keeps_its_head(tiny_base: Path, tmp_path: Path, bpe_tokenizer: PreTrainedTokenizerBase) -> None:
    config = AutoConfig.from_pretrained(tiny_base)
    config.tie_word_embeddings = False
    LlamaForCausalLM(config).save_pretrained(tmp_path / "untied")
    bpe_tokenizer.save_pretrained(tmp_path / "untied")
    made: Any = make(tmp_path / "untied", tmp_path / "out").load_model().causal_lm
    assert made.get_output_embeddings().weight is not made.get_input_embeddings().weight
    assert made.get_output_embeddings().weight.shape == made.get_input_embeddings().weight.shape


def test_a_sentencepiece_base(tmp_path: Path, sentencepiece_tokenizer: PreTrainedTokenizerBase, tiny_base: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_base)
    config.vocab_size = len(sentencepiece_tokenizer)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    sentencepiece_tokenizer.save_pretrained(tmp_path / "base")
    made = make(tmp_path / "base", tmp_path / "out", notes=NOTES)
    assert embed(made).shape == (len(NOTES), 48)
    prompt = made.prompt()
    assert prompt.tokenize(NOTES)[0].title == NotePromptIds.of(sentencepiece_tokenizer, " brew 0 sour")


class NotePromptIds:
    """What the original tokenizer makes of a text in the middle of another."""

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
        return tuple(tokenizer(f"\n{text}", add_special_tokens=False)["input_ids"][len(tokenizer.tokenize("\n")) :])


def test_the_dtype_can_be_chosen(tiny_base: Path, tmp_path: Path) -> None:
    made = make(tiny_base, tmp_path / "half", dtype=torch.bfloat16)
    assert json.loads((made.path / "config.json").read_text())["dtype"] == "bfloat16"
    assert made.load_model().causal_lm.dtype == torch.float32


def test_what_is_no_llama_is_refused(tmp_path: Path) -> None:
    BertModel(
        BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=50)
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(BaseModelError, match="is a bert model: the base must be a LlamaForCausalLM"):
        make(tmp_path / "bert", tmp_path / "out")
    with pytest.raises(BaseModelError, match="cannot be loaded as a base model"):
        make(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(BaseModelError, match="cannot be loaded as a base model"):
        make(tmp_path / "bad.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_cannot_be_are_refused_before_any_work(tmp_path: Path) -> None:
    for options, message in (({"name": "Not Valid"}, "name 'Not Valid'"), ({"categories": ("a ",)}, r"categories\.0 'a '")):
        with pytest.raises(DataError, match=message):
            InitialCheckpoint(**({"base": "nowhere", "output": tmp_path / "out", "name": "x"} | options)).make()  # type: ignore[arg-type]


def test_dimensions_that_cannot_be(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="larger than the model's hidden size of 48"):
        make(tiny_base, tmp_path / "out", dim=49)
    with pytest.raises(BaseModelError, match="needs a sample of at least 20 notes, but there are 12"):
        make(tiny_base, tmp_path / "out", dim=20, notes=NOTES)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("notellm-train")), *map(str, arguments)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_command_line(tiny_base: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    notes.write_text("\n".join(note.model_dump_json() for note in NOTES))
    good = run(
        "init-checkpoint",
        tmp_path / "out",
        "--base",
        tiny_base,
        "--notes",
        notes,
        "--name",
        "mine",
        "--dim",
        4,
        "--prompt",
        "paper-zh",
    )
    assert good.returncode == 0, good.stderr
    assert good.stdout == f"{tmp_path / 'out'}: mine, 4 dimensions, 2 categories\n"
    assert Checkpoint.open(tmp_path / "out").manifest.prompt.version == "paper-zh"
    again = run("init-checkpoint", tmp_path / "out", "--base", tiny_base)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "already exists" in again.stderr
    with pytest.raises(CheckpointError):
        Checkpoint.open(tmp_path / "never")
