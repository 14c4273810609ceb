"""Runs one peer in its own process and environment. It takes commands as lines of JSON on standard input.

    python -m benchmarks.peer_worker vllm

The first line has the settings; the answer is `{"release": …}`. The answer to each further line, `{"prompts": [[…]], "texts": […]}`, is
`{"seconds": …, "vectors": [[…]]}`. The seconds are the time of the model, including tokenization if the peer takes texts. The process
ends at the end of its input. While it waits for input, it uses no CPU time. It imports nothing from this repository, so the peer's
environment does not need this repository's dependencies.
"""

import asyncio
import importlib
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, TextIO

# Disables usage reports and requests to a model hub.
PRIVATE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1", "INFINITY_ANONYMIZED_USAGE_STATS": "0"}
IN_THIS_PROCESS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "WARNING",
}

Vectors = Sequence[Sequence[float]]


class Library(ABC):
    """A library that embeds.

    Attributes:
        release: its name and release.
    """

    release: str

    @abstractmethod
    def embed(self, prompts: Sequence[Sequence[int]], texts: Sequence[str]) -> tuple[float, Vectors]:
        """Returns the seconds, and the vectors in the order of the prompts. `texts` are the prompts as text."""


class Vllm(Library):
    """vLLM's pooling runner, with token ids."""

    def __init__(self, checkpoint: str, threads: int, **options: object) -> None:
        vllm: Any = importlib.import_module("vllm")
        self._llm = vllm.LLM(model=checkpoint, runner="pooling", dtype="float32", enforce_eager=True, **options)
        self.release = f"vLLM {vllm.__version__}"

    def embed(self, prompts: Sequence[Sequence[int]], texts: Sequence[str]) -> tuple[float, Vectors]:
        """See `Library.embed`."""
        start = time.perf_counter()
        outputs = self._llm.embed([{"prompt_token_ids": list(ids)} for ids in prompts], use_tqdm=False)
        taken = time.perf_counter() - start
        return taken, [list(output.outputs.embedding) for output in outputs]


class Infinity(Library):
    """Infinity's engine with sentence-transformers, with texts."""

    def __init__(self, checkpoint: str, threads: int, **options: object) -> None:
        library: Any = importlib.import_module("infinity_emb")
        importlib.import_module("torch").set_num_threads(threads)
        self._loop = asyncio.Runner()
        args = library.EngineArgs(
            model_name_or_path=checkpoint, engine="torch", device="cpu", dtype="float32", model_warmup=False,
            bettertransformer=False, **options,
        )  # fmt: skip
        self._engine = library.AsyncEmbeddingEngine.from_args(args)
        self._loop.run(self._engine.astart())
        self.release = f"Infinity {version('infinity-emb')}"

    def embed(self, prompts: Sequence[Sequence[int]], texts: Sequence[str]) -> tuple[float, Vectors]:
        """See `Library.embed`."""
        start = time.perf_counter()
        vectors, _ = self._loop.run(self._engine.embed(sentences=list(texts)))
        return time.perf_counter() - start, [vector.tolist() for vector in vectors]


class DefaultVllm(Vllm):
    """vLLM with its own choice of threads and processes: on a CPU it reserves a core for its scheduler."""

    def __init__(self, checkpoint: str, threads: int, **options: object) -> None:
        for name in ("OMP_NUM_THREADS", *IN_THIS_PROCESS):
            os.environ.pop(name, None)
        super().__init__(checkpoint, threads, **options)
        self.release += ", default settings"


LIBRARIES: Mapping[str, Any] = {"vllm": Vllm, "vllm-defaults": DefaultVllm, "infinity": Infinity}


def serve(name: str, jobs: TextIO, answers: TextIO) -> None:
    """Runs the jobs one after another."""
    settings = json.loads(jobs.readline())
    os.environ |= PRIVATE | IN_THIS_PROCESS | {"OMP_NUM_THREADS": str(settings["threads"])}
    library = LIBRARIES[name](**settings)
    _answer(answers, release=library.release)
    for line in jobs:
        job = json.loads(line)
        seconds, vectors = library.embed(job["prompts"], job["texts"])
        _answer(answers, seconds=seconds, vectors=vectors)


def _answer(answers: TextIO, **content: object) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


if __name__ == "__main__":
    # Output of libraries must not mix with the answers.
    own_output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.argv[1], sys.stdin, own_output)
    os._exit(0)  # without waiting for the library's threads, which wait for work
