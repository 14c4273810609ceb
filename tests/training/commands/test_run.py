"""`notellm-train train` as a user starts it: as a process, on two processes, with every file that is shipped."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.processes import ROOT, run_python
from notellm import Checkpoint

pytestmark = [pytest.mark.integration, pytest.mark.slow("each run is a process that trains")]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
Write = Callable[..., Path]


def train(*arguments: object, processes: int = 1) -> str:
    launcher = TORCHRUN if processes > 1 else ()
    return run_python(*launcher, "-m", "training.cli", "train", *map(str, arguments), seconds=600, environment=ENVIRONMENT)


@contextmanager
def training(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "training.cli", "train", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_sigterm_saves_and_ends_with_zero_and_resume_goes_on(config_file: Write, tmp_path: Path) -> None:
    config, run = config_file(examples__epochs=8, validation__every_steps=1000), tmp_path / "run"
    with training(config, run) as process:
        while not (run / "log.jsonl").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert output.rstrip().endswith(f"{run}: stopped; continue with --resume")
    (state,) = (run / "states").iterdir()
    assert int(state.name.removeprefix("checkpoint-")) < 64
    assert not (run / "checkpoint").exists()
    assert f"{run}/checkpoint: small, 16 dimensions" in train(config, run, "--resume")


def test_torchrun_starts_the_same_command(config_file: Write, tmp_path: Path) -> None:
    output = train(config_file(compute__packed=False), tmp_path / "run", processes=2)
    assert output.count("checkpoint: small, 16 dimensions") == 1
    assert "stopped" not in output
    assert Checkpoint.open(tmp_path / "run" / "checkpoint").manifest.dimensions == 16


@pytest.fixture(scope="module")
def untied_base(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """With a language-model head of its own, as LLaMA-2 has."""
    path = tmp_path_factory.mktemp("untied") / "base"
    shutil.copytree(tiny_base, path)
    torch.manual_seed(3)
    LlamaForCausalLM(LlamaConfig.from_pretrained(path, tie_word_embeddings=False)).save_pretrained(path)
    return path


SMALL = (
    "model.dimensions=16",
    "validation.every_steps=1",
    "validation.notes=20",
    "validation.k=10",
    "compute.threads=1",
    "examples.max_pairs=140",
)
SAMPLE = ("data.notes=demo/notes.jsonl.gz", "data.events=demo/events.csv.gz")


@pytest.mark.parametrize(
    ("name", "processes", "changes"),
    [
        ("smollm2-135m-stackexchange", 1, ("examples.max_pairs=70",)),
        ("smollm2-135m-microlens", 1, (*SAMPLE, "method.frozen_layers=1", "examples.max_pairs=null", "examples.max_batches=2")),
        ("llama2-7b-lora-a100x1", 1, SAMPLE),
        ("llama2-7b-a100x8", 2, SAMPLE),
    ],
)
def test_every_shipped_config_trains(
    name: str, processes: int, changes: tuple[str, ...], untied_base: Path, tmp_path: Path
) -> None:
    """On a tiny base and the demo's notes; precision, sharding, losses, tasks and all the rest as the file has them."""
    overrides = [word for change in (*SMALL, f"model.base={untied_base}", *changes) for word in ("--set", change)]
    output = train(f"training/configs/{name}.yaml", tmp_path / "run", *overrides, processes=processes)
    assert f"checkpoint: {name}, 16 dimensions" in output
    steps = [line for line in map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines()) if "loss" in line]
    assert steps
    checkpoint = Checkpoint.open(tmp_path / "run" / "checkpoint")
    head = checkpoint.load_model().causal_lm
    assert head.lm_head.weight.data_ptr() != head.model.embed_tokens.weight.data_ptr()
