"""`notellm-train`: makes a checkpoint from notes and a behaviour log."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers.utils.logging import disable_progress_bar

from notellm.errors import NoteLLMError
from notellm.prompt import PromptSettings, PromptVersion
from notellm.vocabulary import categories_of
from training.commands import data, evaluate, projection, run
from training.data import read_notes
from training.errors import TrainingError
from training.model import InitialCheckpoint

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@app.callback()
def notellm_train() -> None:
    """Makes and trains NoteLLM checkpoints."""


@app.command()
def init_checkpoint(
    output: Annotated[Path, typer.Argument(help="Directory to write the checkpoint to.")],
    base: Annotated[str, typer.Option(help="LLaMA-family model: a Hugging Face directory, a hub id, or a .gguf file.")],
    name: Annotated[str, typer.Option(help="Names the model in answers and in the index.")] = "notellm-zero-shot",
    dim: Annotated[int, typer.Option(min=0, help="Dimensions of the embedding; 0 keeps the hidden size.")] = 0,
    notes: Annotated[
        Path | None,
        typer.Option(help="Sample of the platform's notes (.jsonl, .jsonl.gz), to centre the vectors and find the categories."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Number of notes to use, spread evenly over the file.")] = 200,
    category: Annotated[list[str] | None, typer.Option(help="A category that may be generated; repeat the option.")] = None,
    prompt: Annotated[
        PromptVersion, typer.Option(help="Prompt template; `shared-en` uses one instruction for all tasks.")
    ] = "paper-en",
    dtype: Annotated[
        str | None, typer.Option(help=f"Dtype of the weights: {', '.join(DTYPES)}. By default the base model's own.")
    ] = None,
) -> None:
    """Makes a zero-shot checkpoint from a LLaMA-family model."""
    if dtype is not None and dtype not in DTYPES:
        raise typer.BadParameter(f"{dtype!r} is not one of {', '.join(DTYPES)}", param_hint="--dtype")
    everything = list(read_notes(notes)) if notes else []
    wanted = min(sample, len(everything))
    checkpoint = InitialCheckpoint(
        base=base,
        output=output,
        name=name,
        dim=dim,
        notes=[everything[position * len(everything) // wanted] for position in range(wanted)],
        categories=tuple(category) if category else categories_of(everything),
        dtype=DTYPES[dtype] if dtype else None,
        prompt=PromptSettings(version=prompt),
    ).make()
    manifest = checkpoint.manifest
    typer.echo(f"{checkpoint.path}: {manifest.name}, {manifest.dimensions} dimensions, {len(manifest.categories)} categories")


for command in (data.convert, data.validate, data.pairs, run.train, run.merge, projection.fit_projection, evaluate.evaluate):
    app.command()(command)


def main() -> None:
    """Runs the command line. An expected error, such as a full disk, prints one line to standard error and gives exit code 1."""
    disable_progress_bar()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (TrainingError, NoteLLMError, OSError) as error:
        typer.echo(f"notellm-train: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":  # torchrun -m training.cli
    main()
