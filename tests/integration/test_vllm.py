"""vLLM serves what training exports: a checkpoint with merged adapters gives the same tokens and the same vectors there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from harness.processes import run_python
from notellm import Checkpoint, NoteEncoder, NoteText
from tests.conftest import NOTES
from training.config import TrainingConfig
from training.run import train

pytestmark = [pytest.mark.integration, pytest.mark.slow("starts vLLM"), pytest.mark.needs("vllm")]
ROOT = Path(__file__).parents[2]
SIX_NOTES = [*NOTES, NoteText(title="espresso and grinder number 3", hashtags=("coffee", "beans"))]
NEW_TOKENS = 16
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, bpe_tokenizer: PreTrainedTokenizerBase) -> Path:
    """As `tiny_base`, but with heads of 32: vLLM's attention for CPUs has no kernel for heads of 8."""
    folder = tmp_path_factory.mktemp("vllm-base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(bpe_tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
        initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    bpe_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(base: Path, run_config: Callable[..., TrainingConfig], tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """What a LoRA run leaves behind. With this α some answers end with the end-of-sequence token and some are cut."""
    config = run_config(
        model__base=str(base), method={"kind": "lora", "rank": 4}, examples__epochs=3, optimizer__learning_rate=1e-2,
        loss__alpha=0.1, validation__every_steps=1000,
    )  # fmt: skip
    checkpoint = train(config, tmp_path_factory.mktemp("vllm-run") / "run")
    assert checkpoint is not None
    return checkpoint


@pytest.fixture(scope="module")
def embedding_prompts(exported: Checkpoint) -> list[list[int]]:
    """They end with the token before `[EMB]`, whose hidden state last-token pooling takes."""
    prompt = exported.prompt()
    return [prompt.embedding(note) for note in prompt.tokenize(SIX_NOTES)]


def ask_vllm(folder: Path, checkpoint: Checkpoint, runner: str, prompts: list[list[int]]) -> Any:
    """What the worker answers."""
    job, answer = folder / "job.json", folder / "answer.json"
    asked = {"checkpoint": str(checkpoint.path), "runner": runner, "prompts": prompts, "max_tokens": NEW_TOKENS}
    job.write_text(json.dumps(asked), encoding="utf-8")
    run_python("-m", "tests.integration.vllm_process", str(job), str(answer), seconds=600)
    return json.loads(answer.read_text(encoding="utf-8"))


def greedy_tokens(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    """What transformers generates, one prompt at a time."""
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        generated = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
        )
        answers.append(generated[0, len(prompt) :].tolist())
    return answers


def test_vllm_generates_the_tokens_that_transformers_generates(exported: Checkpoint, base: Path, tmp_path: Path) -> None:
    prompt = exported.prompt()
    notes = prompt.tokenize(SIX_NOTES)
    prompts = [*(prompt.hashtags(note, 3) for note in notes), *(prompt.category(note) for note in notes)]
    merged = LlamaForCausalLM.from_pretrained(exported.path, dtype=torch.float32).eval()
    expected = greedy_tokens(merged, prompts)
    assert max(map(len, expected)) == NEW_TOKENS
    assert ask_vllm(tmp_path, exported, "generate", prompts) == expected
    # An export that had left the adapters out would be noticed: the base's layers generate something else.
    merged.load_state_dict(without_adapters(merged, base))
    assert greedy_tokens(merged, prompts) != expected


def without_adapters(merged: LlamaForCausalLM, base: Path) -> dict[str, torch.Tensor]:
    """The base's linear layers beside the rest of the merged weights."""
    linear = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).model.layers.state_dict()
    return merged.state_dict() | {f"model.layers.{name}": weight for name, weight in linear.items()}


def largest_difference(theirs: list[list[float]], ours: npt.NDArray[np.float32]) -> float:
    """Of any component of unit vectors, (prompts, dimensions)."""
    vectors = np.array(theirs)
    assert vectors.shape == ours.shape
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    return float(np.abs(vectors - ours).max())


def test_vllm_pools_the_vectors_of_our_encoder(
    exported: Checkpoint, embedding_prompts: list[list[int]], tmp_path: Path
) -> None:
    """Catches a projection that vLLM leaves out (it would only be logged), another pooling, and another last token."""
    ours = NoteEncoder(exported.load_model(), exported.prompt().embedding_prefix).encode(embedding_prompts)
    assert ours.shape == (len(SIX_NOTES), exported.manifest.dimensions)
    assert exported.manifest.dimensions < exported.manifest.hidden_size
    one_shorter = [ids[:-1] for ids in embedding_prompts]
    vectors = ask_vllm(tmp_path, exported, "pooling", embedding_prompts + one_shorter)
    assert largest_difference(vectors[: len(ours)], ours) <= TOLERANCE
    for shorter, vector in zip(vectors[len(ours) :], ours, strict=True):
        assert largest_difference([shorter], vector[None]) > 100 * TOLERANCE
