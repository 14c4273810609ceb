"""Runs the steps of `service.serving.runtime.open_service` with the local engine one by one, and prints the seconds of each as JSON.

    python -m benchmarks.startup_steps checkpoints/demo

Each step does its own imports, so that the first one contains the imports of the service.
"""

import json
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any


class _Steps:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def end(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def take_steps(path: Path, data_dir: Path) -> dict[str, float]:
    """The seconds of each step by name, in order."""
    steps = _Steps()
    import_module("torch")
    steps.end("import of torch")
    modules: dict[str, Any] = {name: import_module(f"service.{name}") for name in ("cli", "app", "runtime", "engines", "index")}
    steps.end("other imports")
    checkpoints: Any = import_module("notellm.checkpoint")
    checkpoint = checkpoints.Checkpoint.open(path, verify="sha256")
    steps.end("checkpoint: SHA-256 of every file")
    prompt = checkpoint.prompt()
    steps.end("tokenizer and prompt")
    manifest = checkpoint.manifest
    index = modules["index"].EdgeIndex.open(data_dir, vector_name="startup", dimensions=manifest.dimensions)
    steps.end("index")
    modules["engines"].LocalEngine(checkpoint, prompt, max_batch_tokens=2048, threads=None)
    steps.end("weights, prefix, comparison with the plain forward pass")
    suggestions: Any = import_module("service.notes.suggestions")
    rules = import_module("notellm.hashtags").HashtagRules.of([], 0.0)
    suggestions.SuggestionPrompts(manifest, prompt, vocabulary=50_000, rules=rules)
    steps.end("hashtag vocabulary")
    del index
    return steps.seconds


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        taken = take_steps(Path(sys.argv[1]), Path(folder) / "index")
    print(json.dumps(taken))
