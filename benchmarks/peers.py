"""Other engines that embed the same checkpoint, each in its own process, so that all of them can take turns within one run.

vLLM's pooling runner gets token ids; install it with `make install-vllm`. Infinity gets texts and needs its own environment; install it
with `make install-infinity`.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

ROOT = Path(__file__).parents[1]
INFINITY = ROOT / ".venv-infinity" / "bin" / "python"
END_SECONDS = 30
# The fastest of the settings tried on 2 cores, with 40 notes of 115 tokens; others, up to 2,048 tokens and 64 notes per step, were up to
# 10 % slower. The shared instruction is shorter than a block of vLLM's cache on CPUs (32 tokens), so looking it up only costs time.
VLLM_OPTIONS: Mapping[str, Any] = {
    "max_num_batched_tokens": 512, "max_num_seqs": 16, "max_model_len": 512, "enable_prefix_caching": False,
    "enable_chunked_prefill": False, "kv_cache_memory_bytes": 64 * 2**20,
}  # fmt: skip
# Only the setting that keeps it from taking all memory.
DEFAULT_VLLM_OPTIONS: Mapping[str, Any] = {"max_model_len": 512, "kv_cache_memory_bytes": 64 * 2**20}
INFINITY_OPTIONS: Mapping[str, Any] = {"batch_size": 32}


class PeerFailed(Exception):
    """A peer ended; the message contains the end of its output."""


class Peer(Protocol):
    """An engine that embeds the same checkpoint.

    Attributes:
        name: name and release, as shown in the report.
    """

    name: str

    def embed(self, prompts: Sequence[Sequence[int]], texts: Sequence[str]) -> tuple[float, npt.NDArray[np.float32]]:
        """Returns the seconds that the model took, and unit vectors, (prompts, dimensions).

        Args:
            prompts: token ids of embedding prompts.
            texts: the decoded prompts, for peers that take only texts.
        """
        ...


class PeerProcess:
    """A running `benchmarks.peer_worker`.

    Args:
        library: the library that it runs.
        python: the interpreter of its environment.
        settings: settings of the library, including `checkpoint` and `threads`.
        log: file for its messages.

    Raises:
        PeerFailed: the process does not start.
    """

    process: subprocess.Popen[str]

    def __init__(self, library: str, python: Path, settings: Mapping[str, Any], log: IO[bytes]) -> None:
        self.name = library
        self._log = log
        command = [str(python), "-m", "benchmarks.peer_worker", library]
        self.process = subprocess.Popen(  # noqa: S603 -- one of ours
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": str(settings["threads"])},
        )  # fmt: skip
        try:
            self.name = str(self._ask(settings)["release"])
        except BaseException:
            self.close()
            raise

    def embed(self, prompts: Sequence[Sequence[int]], texts: Sequence[str]) -> tuple[float, npt.NDArray[np.float32]]:
        """See `Peer.embed`.

        Raises:
            PeerFailed: the process ended.
        """
        answer = self._ask({"prompts": [list(ids) for ids in prompts], "texts": list(texts)})
        return float(answer["seconds"]), np.array(answer["vectors"], dtype=np.float32)

    def _ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise PeerFailed(f"{self.name} ended:\n{self._log.read().decode(errors='replace')[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process and all processes that it started."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class _Installation:
    python: Path
    options: Mapping[str, Any]
    found: bool
    advice: str


def _installations() -> dict[str, _Installation]:
    vllm = Path(sys.executable), importlib.util.find_spec("vllm") is not None, "make install-vllm"
    return {
        "vllm": _Installation(vllm[0], VLLM_OPTIONS, *vllm[1:]),
        "vllm-defaults": _Installation(vllm[0], DEFAULT_VLLM_OPTIONS, *vllm[1:]),
        "infinity": _Installation(INFINITY, INFINITY_OPTIONS, INFINITY.exists(), "make install-infinity"),
    }


def missing_peers() -> list[str]:
    """One line for each peer that is not installed: its name, and how to install it."""
    return [f"{name}: not installed ({one.advice})" for name, one in _installations().items() if not one.found]


@contextmanager
def open_peers(checkpoint: Path, threads: int) -> Iterator[Mapping[str, Peer]]:
    """The installed peers by short name, with the checkpoint loaded.

    Raises:
        PeerFailed: a peer cannot load the checkpoint.
    """
    with ExitStack() as stack:
        peers: dict[str, Peer] = {}
        for name, installation in _installations().items():
            if not installation.found:
                continue
            log = stack.enter_context(tempfile.TemporaryFile())
            settings = {"checkpoint": str(checkpoint.resolve()), "threads": threads, **installation.options}
            process = PeerProcess(name, installation.python, settings, log)
            stack.callback(process.close)
            peers[name] = process
        yield peers


def comparable(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], texts: Sequence[str]) -> list[int]:
    """Positions of the prompts whose text, tokenized again, gives the same ids.

    A prompt is joined from fields that were tokenized separately. If it is tokenized as one text, two tokens at a border may become one
    (`?` and `,`). A peer that takes texts would then embed a different prompt and give a different vector.
    """
    read: Any = tokenizer(list(texts))["input_ids"]
    return [position for position, (ids, prompt) in enumerate(zip(read, prompts, strict=True)) if list(ids) == list(prompt)]
