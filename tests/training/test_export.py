"""Adapters come out of a run whole, go back into their base, and are refused by another one."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from notellm import Checkpoint, NoteEncoder, NoteText
from notellm.errors import NoteLLMError
from training.config import TrainingConfig
from training.errors import BaseModelError
from training.export import adapter_digest, merge_adapter
from training.run import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, run_config: Callable[..., TrainingConfig]) -> Path:
    path = tmp_path_factory.mktemp("export") / "run"
    train(run_config(method={"kind": "lora", "rank": 4}, optimizer__learning_rate=1e-2), path)
    return path


@pytest.fixture
def tokens_run(tmp_path: Path, run_config: Callable[..., TrainingConfig]) -> Path:
    behaviour = {"model__projection": "behaviour", "model__token_vectors": True}
    train(run_config(method={"kind": "lora", "rank": 4}, **behaviour), tmp_path / "run")
    return tmp_path / "run"


def vectors(checkpoint: Checkpoint) -> torch.Tensor:
    prompt = checkpoint.prompt()
    encoder = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix)
    notes = prompt.tokenize([NoteText(title="cold brew"), NoteText(title="hops", content="malt #beer")])
    return torch.from_numpy(encoder.encode([prompt.embedding(note) for note in notes]))


def test_base_and_adapter_make_the_checkpoint_again(run: Path, tiny_base: Path, tmp_path: Path) -> None:
    merged = merge_adapter(str(tiny_base), run / "adapter", tmp_path / "merged")
    original = Checkpoint.open(run / "checkpoint")
    torch.testing.assert_close(vectors(merged), vectors(original), rtol=0, atol=1e-5)
    assert merged.manifest.model_dump(exclude={"files", "digest"}) == original.manifest.model_dump(exclude={"files", "digest"})
    record = json.loads((merged.path / "training.json").read_text(encoding="utf-8"))
    assert record["adapter"] == adapter_digest(run / "adapter")


def test_an_adapter_brings_its_token_vectors(tokens_run: Path, tiny_base: Path, tmp_path: Path) -> None:
    merged = merge_adapter(str(tiny_base), tokens_run / "adapter", tmp_path / "merged")
    original = Checkpoint.open(tokens_run / "checkpoint")
    assert merged.manifest.format_version == original.manifest.format_version == 2
    torch.testing.assert_close(vectors(merged), vectors(original), rtol=0, atol=1e-5)
    (tokens_run / "adapter" / "frame.json").rename(tmp_path / "frame.json")
    with pytest.raises(BaseModelError, match="cannot be merged into"):
        merge_adapter(str(tiny_base), tokens_run / "adapter", tmp_path / "again")


def test_training_changed_the_vectors(run: Path, tiny_base: Path, tmp_path: Path) -> None:
    """Otherwise the test above could not fail: without its adapters a base gives other vectors."""
    adapter = tmp_path / "adapter"
    shutil.copytree(run / "adapter", adapter)
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({name: torch.zeros_like(value) if "lora_B" in name else value for name, value in weights.items()},
              adapter / "adapter_model.safetensors")  # fmt: skip
    without = merge_adapter(str(tiny_base), adapter, tmp_path / "merged")
    assert (vectors(without) - vectors(Checkpoint.open(run / "checkpoint"))).abs().max() > 1e-3
    assert adapter_digest(adapter) != adapter_digest(run / "adapter")


def test_tied_embeddings_stay_tied_and_are_stored_once(run: Path) -> None:
    causal_lm = Checkpoint.open(run / "checkpoint").load_model().causal_lm
    assert causal_lm.lm_head.weight.data_ptr() == causal_lm.model.embed_tokens.weight.data_ptr()
    assert json.loads((run / "checkpoint" / "config.json").read_text())["tie_word_embeddings"] is True


def test_the_row_of_emb_was_trained(run: Path, tiny_base: Path) -> None:
    checkpoint = Checkpoint.open(run / "checkpoint")
    table = checkpoint.load_model().causal_lm.model.embed_tokens.weight
    base = LlamaForCausalLM.from_pretrained(tiny_base).model.embed_tokens.weight
    torch.testing.assert_close(table[: len(base)], base)  # no other row was
    row = table[checkpoint.manifest.emb_token_id]
    assert (row - base.mean(0)).abs().max() > 1e-3


def test_an_adapter_is_small_and_names_no_machine(run: Path) -> None:
    stored = sum(path.stat().st_size for path in (run / "adapter").iterdir())
    assert stored < sum(path.stat().st_size for path in (run / "checkpoint").rglob("*") if path.is_file()) / 2
    for path in (run / "adapter").glob("*.json"):
        assert str(run.parent) not in path.read_text(encoding="utf-8")


def other_base(folder: Path, tiny_base: Path) -> Path:
    """Of another hidden size."""
    shutil.copytree(tiny_base, folder)
    config = LlamaConfig.from_pretrained(tiny_base)
    config.hidden_size, config.head_dim = 24, 4
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_another_base_is_refused(run: Path, tiny_base: Path, tmp_path: Path) -> None:
    base = other_base(tmp_path / "other", tiny_base)
    with pytest.raises(BaseModelError, match=re.escape(f"{run / 'adapter'} cannot be merged into {base}")):
        merge_adapter(str(base), run / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("missing", ["adapter_model.safetensors", "projection.safetensors", "facts.json", "training.json"])
def test_a_broken_adapter_is_refused(run: Path, tiny_base: Path, tmp_path: Path, missing: str) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(run / "adapter", adapter)
    (adapter / missing).unlink()
    with pytest.raises(BaseModelError, match="cannot be merged into"):
        merge_adapter(str(tiny_base), adapter, tmp_path / "merged")


@pytest.mark.parametrize("cut", ["adapter_model.safetensors", "projection.safetensors", "facts.json", "adapter_config.json"])
def test_a_cut_off_adapter_is_refused(run: Path, tiny_base: Path, tmp_path: Path, cut: str) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(run / "adapter", adapter)
    (adapter / cut).write_bytes((adapter / cut).read_bytes()[:60])
    with pytest.raises(BaseModelError, match="cannot be merged into"):
        merge_adapter(str(tiny_base), adapter, tmp_path / "merged")


def test_a_projection_of_another_size_is_refused(run: Path, tiny_base: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(run / "adapter", adapter)
    save_file({"weight": torch.zeros(16, 32)}, adapter / "projection.safetensors")
    with pytest.raises(BaseModelError, match="projection expects 32 values, but the model's hidden size is 48"):
        merge_adapter(str(tiny_base), adapter, tmp_path / "merged")


def test_nothing_is_overwritten(run: Path, tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "something").write_text("kept")
    with pytest.raises(NoteLLMError):
        merge_adapter(str(tiny_base), run / "adapter", tmp_path / "merged")
    assert (tmp_path / "merged" / "something").read_text() == "kept"
