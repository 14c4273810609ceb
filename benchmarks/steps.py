"""Section `steps`: how much each part of the forward pass gains, added one after another."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from benchmarks.measure import Content, Spread, alternate, ratios
from benchmarks.transformers_ways import one_by_one, padded
from benchmarks.workloads import embedding_prompts, workloads
from notellm import Checkpoint, NoteEncoder, NoteLLM
from notellm.forward import TransformersLayers

TITLE = "What each step gains"
STEPS = 5
BUDGET, OTHER_BUDGETS = 1024, (64, 256, 512, 2048)
BATCH = 16


class ModuleLayers(TransformersLayers):
    """Layers that use the model's own modules between the matrix products."""

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layers.rotation`."""
        cosines, sines = self._backbone.rotary_emb(self._backbone.norm.weight, position_ids=positions[None])
        return cosines, sines

    def query_key_value(self, layer: int, states: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers.query_key_value`."""
        block = self._layers[layer]
        attention, normed = block.self_attn, block.input_layernorm(states)
        query, key, value = (
            projection(normed).view(len(states), -1, attention.head_dim).transpose(0, 1)[None]
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, *rotation)
        return query[0], key[0], value[0]

    def finish(self, layer: int, states: Tensor, attended: Tensor) -> Tensor:
        """See `Layers.finish`."""
        block = self._layers[layer]
        states = states + block.self_attn.o_proj(attended)
        finished: Tensor = states + block.mlp(block.post_attention_layernorm(states))
        return finished


class ModuleModel:
    """A `NoteLLM` that uses `ModuleLayers`."""

    def __init__(self, model: NoteLLM) -> None:
        self.layers = ModuleLayers(model.causal_lm.model)
        self.dimensions = model.dimensions
        self.tokens = model.tokens
        self._model = model

    def project(self, hidden: Tensor, added: Tensor | None = None, *, normalize: bool = True) -> Tensor:
        """See `NoteLLM.project`."""
        return self._model.project(hidden, added, normalize=normalize)


@torch.inference_mode()
def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`."""
    opened = Checkpoint.open(checkpoint, verify="size")
    model, prompt = opened.load_model(), opened.prompt()
    encoders = {
        tokens: NoteEncoder(model, prompt.embedding_prefix, max_batch_tokens=tokens) for tokens in (BUDGET, *OTHER_BUDGETS)
    }
    modules = NoteEncoder(ModuleModel(model), prompt.embedding_prefix, max_batch_tokens=BUDGET, lanes=False)
    together = NoteEncoder(model, prompt.embedding_prefix, max_batch_tokens=BUDGET, lanes=False)
    measured: Content = {"workloads": {}}
    for name, notes in (workloads(5, 5) if quick else workloads(60, 30)).items():
        print(f"{name}: {len(notes)} notes", flush=True)
        prompts = embedding_prompts(prompt, notes)
        ways = {
            "transformers, a note at a time": partial(one_by_one, model, prompts),
            f"batches of {BATCH}, sorted by length, padded": partial(padded, model, prompts, BATCH, by_length=True),
            f"no padding, cached prefix, last layer at last tokens; {BUDGET:,} tokens a pass": partial(modules.encode, prompts),
            f"fewer passes over memory between matrix products; {BUDGET:,} tokens": partial(together.encode, prompts),
            f"a pass for each thread, side by side; {BUDGET:,} tokens": partial(encoders[BUDGET].encode, prompts),
        }
        ways |= {f"the same, {tokens:,} tokens": partial(encoders[tokens].encode, prompts) for tokens in OTHER_BUDGETS}
        for run in ways.values():
            run()
        measured["workloads"][name] = {"prompts": len(prompts), "seconds": alternate(ways, 1 if quick else 5)}
    return measured


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    found = content["workloads"]
    steps = list(next(iter(found.values()))["seconds"])
    rows = []
    for step in steps:
        cells = []
        for workload in found.values():
            taken, first = workload["seconds"][step], workload["seconds"][steps[0]]
            cells += [Spread.of([workload["prompts"] / s for s in taken]).text(1), f"{ratios(first, taken).median:.2f}×"]
        rows.append(f"| {step} | " + " | ".join(cells) + " |")
    head = "| step | " + " | ".join(f"{name}, notes/s | faster by" for name in found) + " |"
    return (
        "Each step includes the steps above it. The last step is then tried with other numbers of tokens per pass.\n\n"
        + "\n".join([head, "|---" * (1 + 2 * len(found)) + "|", *rows])
    )


def figures(content: Content) -> dict[str, Any]:
    """See `benchmarks.speed.Section`."""
    figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for name, workload in content["workloads"].items():
        rates = [workload["prompts"] / Spread.of(taken).median for taken in workload["seconds"].values()]
        axis.plot(range(1, STEPS + 1), rates[:STEPS], marker="o", label=name)
    axis.set(xticks=range(1, STEPS + 1), xlabel="step", ylabel="notes/s", yscale="log")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    return {"steps": figure}
