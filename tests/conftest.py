"""A tiny LLaMA with real parts: trained tokenizers, random weights, and a checkpoint written by our own code."""

import asyncio
import atexit
import json
import math
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import sentencepiece
import torch
import yaml
from hypothesis import settings as hypothesis_settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from notellm import Checkpoint, NoteEncoder, NoteLLM, NoteText
from service.http import create_app
from service.serving import Runtime, open_service
from service.settings import Settings
from tests.clock import LoopTime, VirtualTime
from tests.platform import write_platform
from tests.requirements import pytest_runtest_setup, pytest_terminal_summary  # noqa: F401 - hooks of pytest
from training.commands.projection import fit_projection
from training.config import TrainingConfig
from training.model import InitialCheckpoint


@atexit.register
def end_quietly() -> None:
    """After the summary, nanobind (duckdb) would list 60 lines of objects that pytest still holds, which read like a failure.

    It has no switch for that, so the process says nothing once Python runs the functions that libraries registered for its end.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


disable_progress_bar()
# No deadline per example: a busy machine takes longer, and no test is about the time of an example.
hypothesis_settings.register_profile("any machine", deadline=None)
hypothesis_settings.load_profile("any machine")
tqdm.monitor_interval = 0  # else its monitor thread warns when a busy machine makes no step for ten seconds
CORPUS = [
    "Extract the note information in json format, compress it into one word for recommendation,",
    "and generate the category of the note. The compression word is: The topics are:",
    "{'title': 'topic': 'content': }. cold brew coffee tastes sour, grind finer, steep longer",
    "quantum gate on a noisy qubit, neural network training, beer brewing with hops at home",
    '笔记：{"标题":"","话题":"","内容":""}，压缩为一个词：“”。生成笔记类目： 咖啡 旅行 美食',
] * 20
CATEGORIES = ("beer", "coffee", "quantum computing")
NOTES = [
    NoteText(title="Cold brew tastes sour", content="Steeped for 12 hours. " * 8, hashtags=("coffee", "cold brew")),
    NoteText(title="Qubits", content="A noisy gate."),
    NoteText(content="周末在家做冷萃咖啡 #咖啡 #旅行"),
    NoteText(title="Hops 🍺", content="مرحبا بالعالم", hashtags=("beer",)),
    NoteText(title="x"),
]


@pytest.fixture(autouse=True)
def _counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded index counts deleted notes each time, also on a machine on which that takes a while."""
    monkeypatch.setattr("service.index.edge.remembered.CHEAP_SECONDS", math.inf)


@pytest.fixture
async def loop_time(monkeypatch: pytest.MonkeyPatch) -> LoopTime:
    """The event loop's clock, which the test can put forward."""
    loop = asyncio.get_running_loop()
    clock = LoopTime(loop)
    monkeypatch.setattr(loop, "time", clock)
    return clock


@pytest.fixture
async def virtual_time(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    """The event loop's clock jumps to the next timer as soon as all tasks wait."""
    loop = asyncio.get_running_loop()
    clock = VirtualTime(loop)
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop, "run_in_executor", clock.refuse_threads)
    monkeypatch.setattr(loop._selector, "select", clock.select)  # type: ignore[attr-defined]
    return clock


@pytest.fixture(scope="session")
def bpe_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level BPE with SmolLM2's conventions: no dummy prefix, pad = eos."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )


@pytest.fixture(scope="session")
def sentencepiece_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """A SentencePiece BPE with LLaMA's settings: byte fallback, dummy prefix, identity normalisation."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(CORPUS), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=500, model_type="bpe", byte_fallback=True,
        add_dummy_prefix=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, minloglevel=2, unk_surface=" ⁇ ", max_sentence_length=10_000,
    )  # fmt: skip
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    LlamaConfig().save_pretrained(folder)
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return loaded


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, bpe_tokenizer: PreTrainedTokenizerBase) -> Path:
    """A Hugging Face directory with a random LLaMA: grouped-query attention, tied embeddings."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(bpe_tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
        initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    bpe_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A checkpoint directory of the tiny model."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    InitialCheckpoint(base=str(tiny_base), output=path, name="tiny", categories=CATEGORIES).make()
    return path


@pytest.fixture(scope="session")
def next_path(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """The checkpoint directory of another model with fewer dimensions."""
    path = tmp_path_factory.mktemp("checkpoints") / "next"
    InitialCheckpoint(base=str(tiny_base), output=path, name="next", dim=16, categories=CATEGORIES).make()
    return path


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> Checkpoint:
    return Checkpoint.open(tiny_path)


@pytest.fixture(scope="session")
def tiny_model(tiny: Checkpoint) -> NoteLLM:
    return tiny.load_model()


@pytest.fixture(scope="session")
def tiny_encoder(tiny: Checkpoint, tiny_model: NoteLLM) -> NoteEncoder:
    return NoteEncoder(tiny_model, tiny.prompt().embedding_prefix)


@pytest.fixture
def settings_for(tmp_path: Path, tiny_path: Path) -> Callable[..., Settings]:
    """Settings of a service with the tiny model and its own index."""

    def make(**changes: object) -> Settings:
        return Settings.model_validate({"checkpoint": tiny_path, "data_dir": tmp_path / "data", "engine": "local", **changes})

    return make


@pytest.fixture
async def runtime(settings_for: Callable[..., Settings]) -> AsyncIterator[Runtime]:
    async with open_service(settings_for()) as running:
        yield running


@pytest.fixture
async def client(runtime: Runtime, settings_for: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application in this process, with real HTTP semantics."""
    transport = httpx.ASGITransport(create_app(runtime, settings_for()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as speaking:
        yield speaking


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small platform."""
    folder = tmp_path_factory.mktemp("platform")
    write_platform(folder)
    return folder


@pytest.fixture(scope="session")
def run_settings(platform: Path, tiny_base: Path) -> Callable[..., dict[str, Any]]:
    """Settings of a short run in the structure of a YAML file; `a__b=value` changes one."""

    def settings(**changes: Any) -> dict[str, Any]:
        content: dict[str, Any] = {
            "name": "small",
            "data": {
                "notes": str(platform / "notes.jsonl"),
                "events": str(platform / "events.csv"),
                "split": {"validation": 0.2, "test": 0.2},
            },
            "model": {"base": str(tiny_base), "dimensions": 16},
            "examples": {"pairs_per_batch": 8, "max_pairs": 64},
            "optimizer": {"learning_rate": 1e-3},
            "compute": {"threads": 1},
            "validation": {"every_steps": 2, "notes": 20, "k": 3},
            "run": {"log_every_steps": 1},
        }
        for name, value in changes.items():
            *parents, last = name.split("__")
            place = content
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        return content

    return settings


@pytest.fixture(scope="session")
def run_config(run_settings: Callable[..., dict[str, Any]]) -> Callable[..., TrainingConfig]:
    """The settings of a short run as a `TrainingConfig`."""
    return lambda **changes: TrainingConfig.model_validate(run_settings(**changes))


@pytest.fixture(scope="session")
def tokens_path(tmp_path_factory: pytest.TempPathFactory, run_settings: Callable[..., dict[str, Any]]) -> Path:
    """A checkpoint with token vectors, fitted to the small platform."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "config.yaml").write_text(yaml.safe_dump(run_settings(name="with-tokens")), encoding="utf-8")
    fit_projection(
        folder / "config.yaml", folder / "checkpoint", ["model.projection=behaviour", "model.token_vectors=true"], None
    )
    return folder / "checkpoint"


@pytest.fixture
def config_file(tmp_path: Path, run_settings: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """The settings of a short run as a YAML file."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(run_settings(**changes)), encoding="utf-8")
        return path

    return write
