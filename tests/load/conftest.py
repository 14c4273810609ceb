"""A model that is slow enough to be overloaded."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from training.model import InitialCheckpoint


@pytest.fixture(scope="session")
def slow_path(tmp_path_factory: pytest.TempPathFactory, bpe_tokenizer: PreTrainedTokenizerBase) -> Path:
    """Large enough for the forward pass, not HTTP, to be what is overloaded; small enough to be made in a second."""
    folder = tmp_path_factory.mktemp("slow")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(bpe_tokenizer), hidden_size=512, intermediate_size=1536, num_hidden_layers=20, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    bpe_tokenizer.save_pretrained(folder / "base")
    InitialCheckpoint(base=str(folder / "base"), output=folder / "slow", name="slow", categories=("coffee",)).make()
    return folder / "slow"
