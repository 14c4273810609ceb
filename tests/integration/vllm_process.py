"""One vLLM engine in a process of its own, so that it ends with the process.

python -m tests.integration.vllm_process JOB.json ANSWER.json

A job names the `checkpoint`, the `runner` and the `prompts` (lists of token ids). The answer is a list, one item a prompt:
with the runner `generate` the ids of at most `max_tokens` greedily chosen tokens, with `pooling` the vector.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

# Set before vLLM is imported. One process, which fails with the engine's own error; nothing is reported to vLLM's makers and
# nothing is asked of a hub.
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
# Bytes. Left to itself vLLM wants 92 % of the machine's memory, and ends when that much is not free.
KEY_VALUE_CACHE = 64 * 2**20


def main(job: Path, answer: Path) -> None:
    asked = json.loads(job.read_text(encoding="utf-8"))
    # By name: the tests are type-checked without vLLM, too.
    vllm: Any = importlib.import_module("vllm")
    engine = vllm.LLM(
        model=asked["checkpoint"], runner=asked["runner"], dtype="float32", max_model_len=512, max_num_seqs=8,
        kv_cache_memory_bytes=KEY_VALUE_CACHE, enforce_eager=True,
    )  # fmt: skip
    prompts = [{"prompt_token_ids": ids} for ids in asked["prompts"]]
    if asked["runner"] == "pooling":
        result = [output.outputs.embedding for output in engine.embed(prompts, use_tqdm=False)]
    else:
        greedy = vllm.SamplingParams(temperature=0, max_tokens=asked["max_tokens"])
        result = [list(output.outputs[0].token_ids) for output in engine.generate(prompts, greedy, use_tqdm=False)]
    answer.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
