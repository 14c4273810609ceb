"""`notellm-serve migrate`: moves the index of a running service to another model."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from service.bulk.client import Json, ServiceClient
from service.bulk.commands import PATIENCE_SECONDS, PatienceOption, UrlOption
from service.bulk.connection import connect_running
from service.errors import CommandError
from service.serving import DEFAULT_SHARE

POLL_SECONDS = 0.5
PLACE = "/admin/migration"


def migrate(
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Checkpoint of the new model: a path on the service's machine.", show_default=False),
    ] = None,
    switch: Annotated[
        bool,
        typer.Option("--switch/--no-switch", help="Whether the new model takes over as soon as every note has its vector."),
    ] = True,
    min_overlap: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Switch only if the two models share at least this fraction of their nearest neighbours."
        ),
    ] = 0.0,
    share: Annotated[
        float,
        typer.Option(min=0.01, max=1, help="Fraction of the time that the back-fill runs; the rest is left for requests."),
    ] = DEFAULT_SHARE,
    roll_back: Annotated[bool, typer.Option("--roll-back", help="Let the old model answer again.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Drop the old model and its vectors, after the switch.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Drop the new model and its vectors, before the switch.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show the state of the migration.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Switch or roll back even if some notes lack a vector. Searches do not find them until they have one.",
        ),
    ] = False,
    url: UrlOption = None,
    patience: PatienceOption = PATIENCE_SECONDS,
) -> None:
    """Moves a running service to another model without downtime. If it is interrupted, run the same command again to continue.

    The service adds the new model's vectors: it stores new notes with vectors of both models and back-fills the stored notes. The
    command then compares the neighbours by both models and lets the new model answer. The old model is kept for --roll-back until
    --finish.
    """
    if sum([to is not None, roll_back, finish, cancel, status]) != 1:
        raise CommandError("give exactly one of --to CHECKPOINT, --status, --roll-back, --finish and --cancel")

    async def work() -> None:
        async with connect_running(url, patience=patience) as client:
            if to is not None:
                await _move(client, to.absolute(), share=share, switch=switch, min_overlap=min_overlap, force=force)
            elif status:
                _say(await client.get(PLACE))
            else:
                change = "rollback" if roll_back else "finish" if finish else "cancel"
                _say(await client.post(f"{PLACE}/{change}", {"force": force} if roll_back else {}))

    asyncio.run(work())


async def _move(
    client: ServiceClient, checkpoint: Path, *, share: float, switch: bool, min_overlap: float, force: bool
) -> None:
    state = await client.post(PLACE, {"checkpoint": str(checkpoint), "share": share})
    state = await _filled(client, state, force=force)
    if state["phase"] == "switched":
        _say(state)
        return
    overlap = await client.get(f"{PLACE}/overlap")
    if overlap["mean"] is not None:
        typer.echo(
            f"the two models agree on {overlap['mean']:.0%} of the {overlap['k']} nearest neighbours (mean over "
            f"{overlap['notes']} notes)"
        )
    if not switch:
        typer.echo("not switched because of --no-switch: run the same command without it to switch")
    elif overlap["mean"] is None and state["notes"] and min_overlap > 0:
        raise CommandError("not switched: no note has vectors of both models, so --min-overlap cannot be checked: omit it")
    elif overlap["mean"] is not None and overlap["mean"] < min_overlap:
        raise CommandError(f"not switched: less than --min-overlap {min_overlap:g}. Set it lower, or --cancel the migration")
    else:
        _say(await client.post(f"{PLACE}/switch", {"force": force}))


async def _filled(client: ServiceClient, state: Json, *, force: bool) -> Json:
    """Waits until every note has a vector of the new model."""
    with tqdm(unit=" notes", smoothing=0.1, disable=None) as bar:
        while state["phase"] in {"none", "loading", "filling"}:
            _check(state, force=force)
            if state["phase"] == "filling":
                bar.total = state["notes"]
                bar.set_postfix_str(str(state.get("error", "")))
                bar.update(max(0, state["notes"] - state["lacking"] - bar.n))
                if force and state["failed"] and state["lacking"] <= state["failed"]:
                    break
            await asyncio.sleep(POLL_SECONDS)
            state = await client.get(PLACE)
    return state


def _check(state: Json, *, force: bool) -> None:
    if state["phase"] == "none":
        raise CommandError(f"the migration has not started: {state.get('error', 'somebody has cancelled it')}")
    if state["failed"] and not force:
        raise CommandError(
            f"the new model cannot embed {state['failed']} notes: the service's log says why. --force switches without them"
        )


def _say(state: Json) -> None:
    source, target = state.get("source", {}), state.get("target", {})
    says = {
        "none": "there is no migration",
        "loading": "the new model is being loaded",
        "filling": f"{state['lacking']:,} of {state['notes']:,} notes lack a vector of {target.get('vector')}",
        "filled": f"every note has a vector of {target.get('vector')}; {source.get('vector')} answers",
        "switched": f"{target.get('vector')} answers. --roll-back returns to {source.get('vector')}; --finish drops it, and from "
        f"then on start the service with NOTELLM_CHECKPOINT={target.get('checkpoint')}",
    }
    typer.echo(says[state["phase"]] + (f" ({state['error']})" if state.get("error") else ""))
