import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from notellm import Checkpoint, CheckpointError
from notellm.checkpoint import MANIFEST, FileDigest, manifest_digest


@pytest.fixture
def copy(tiny_path: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy"
    shutil.copytree(tiny_path, target)
    return target


def edit_manifest(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the manifest and seals it again, as somebody who knows the format would."""
    content = json.loads((path / MANIFEST).read_text())
    change(content)
    content["digest"] = manifest_digest(content)
    (path / MANIFEST).write_text(json.dumps(content))


def relist(path: Path, name: str) -> None:
    digest = FileDigest.of(path / name).model_dump()
    edit_manifest(path, lambda content: content["files"].update({name: digest}))


def refused(path: Path, match: str, file: str) -> None:
    def use() -> None:
        checkpoint = Checkpoint.open(path)
        checkpoint.prompt()
        checkpoint.load_model()

    with pytest.raises(CheckpointError, match=match) as error:
        use()
    assert error.value.path == path / file


def test_a_checkpoint_opens_and_says_what_it_is(tiny: Checkpoint) -> None:
    assert tiny.manifest.name == "tiny"
    assert tiny.manifest.dimensions == tiny.manifest.hidden_size == 48
    assert tiny.tokenizer.convert_tokens_to_ids("[EMB]") == tiny.manifest.emb_token_id
    assert tiny.tokenizer.pad_token == "[PAD]"
    assert len(tiny.fingerprint) == 16


def test_the_projection_stands_in_2_dense_and_nowhere_else(tiny_path: Path) -> None:
    assert set(load_file(tiny_path / "2_Dense" / "model.safetensors")) == {"linear.weight"}
    assert not [name for name in load_file(tiny_path / "model.safetensors") if "project" in name or "dense" in name.lower()]


def test_a_directory_that_is_no_checkpoint(tmp_path: Path) -> None:
    refused(tmp_path, "is missing: this is not a NoteLLM checkpoint", MANIFEST)
    refused(tmp_path / "nowhere", "no such directory", "")


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "2_Dense/model.safetensors", "modules.json"]
)
def test_a_missing_truncated_or_edited_file(name: str, copy: Path) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    refused(copy, "bytes instead of", name)
    (copy / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    refused(copy, "was changed after", name)
    (copy / name).unlink()
    refused(copy, "is missing", name)


def test_size_verification_reads_no_content(copy: Path) -> None:
    content = (copy / "modules.json").read_bytes()
    (copy / "modules.json").write_bytes(b" " * len(content))
    assert Checkpoint.open(copy, verify="size").manifest.name == "tiny"


@pytest.mark.parametrize(
    "name", ["model.py", "pytorch_model.bin", "2_Dense/model.pt", "adapter_config.json", "chat_template.jinja"]
)
def test_files_that_nobody_listed(name: str, copy: Path) -> None:
    (copy / name).write_text("surprise")
    refused(copy, "is not listed", name)


def test_a_readme_may_lie_beside(copy: Path) -> None:
    (copy / "README.md").write_text("hello")
    assert Checkpoint.open(copy)


@pytest.mark.parametrize("name", ["weights.bin", "../outside.json", "/etc/passwd.json", "model.py"])
def test_a_manifest_may_list_only_safe_files(name: str, copy: Path) -> None:
    edit_manifest(copy, lambda content: content["files"].update({name: {"size": 0, "sha256": "0" * 64}}))
    refused(copy, "only .json and .safetensors", MANIFEST)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.update(format_version=3), "format version 3; this release reads versions 1 and 2"),
        (lambda c: c.update(dimensions=0), "field dimensions"),
        (lambda c: c.update(colour="red"), "field colour"),
        (lambda c: c["prompt"].update(version="paper-xx"), r"field prompt\.version"),
        (lambda c: c.pop("files"), "field files"),
        (lambda c: c.update(categories=["a\nb"]), r"field categories\.0"),
    ],
)
def test_a_manifest_that_breaks_the_format(change: Callable[[dict[str, Any]], None], match: str, copy: Path) -> None:
    edit_manifest(copy, change)
    refused(copy, match, MANIFEST)


def test_a_manifest_that_was_edited_by_hand(copy: Path) -> None:
    text = (copy / MANIFEST).read_text()
    (copy / MANIFEST).write_text(text.replace('"beer"', '"wine"'))
    refused(copy, "was edited", MANIFEST)
    (copy / MANIFEST).write_text(text[: len(text) // 2])
    refused(copy, "not readable JSON", MANIFEST)
    (copy / MANIFEST).write_text("[]")
    refused(copy, "not a JSON object", MANIFEST)


def test_facts_that_contradict_the_files(copy: Path) -> None:
    edit_manifest(copy, lambda content: content.update(hidden_size=64))
    refused(copy, "hidden_size is 48, but notellm.json says 64", "config.json")
    edit_manifest(copy, lambda content: content.update(hidden_size=48, emb_token_id=3))
    refused(copy, r"\[EMB\] does not have the id 3", "tokenizer.json")


def test_a_projection_of_another_size(copy: Path) -> None:
    name = "2_Dense/model.safetensors"
    save_file({"linear.weight": torch.zeros(48, 32)}, copy / name)
    relist(copy, name)
    refused(copy, "does not project from 48 to 48 values", name)
    (copy / name).write_bytes(b"no safetensors at all")
    relist(copy, name)
    refused(copy, "not a readable safetensors file", name)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"architectures": ["BertModel"]}, "is for .*BertModel"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "asks to run its own code"),
    ],
)
def test_a_configuration_of_something_else(change: dict[str, object], match: str, copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    relist(copy, "config.json")
    refused(copy, match, "config.json")


def test_weights_that_do_not_fit(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    lost = weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    relist(copy, "model.safetensors")
    refused(copy, r"missing_keys model\.layers\.1\.mlp\.up_proj\.weight", "")
    save_file(
        weights | {"model.layers.1.mlp.up_proj.weight": lost[:-1]},
        copy / "model.safetensors",
        metadata={"format": "pt"},
    )
    relist(copy, "model.safetensors")
    refused(copy, "cannot be loaded|mismatched_keys", "")


def test_pad_must_not_be_eos(copy: Path) -> None:
    config = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": config["eos_token"]}))
    relist(copy, "tokenizer_config.json")
    refused(copy, "needs a pad token that differs from its eos", "tokenizer.json")


def test_models_are_loaded_side_by_side(tiny: Checkpoint) -> None:
    """As by a migration, whose second model may be loaded while something else is."""
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: tiny.load_model(), range(16)))
    weights = [model.causal_lm.lm_head.weight for model in models]
    assert all(torch.equal(weight, weights[0]) for weight in weights)
