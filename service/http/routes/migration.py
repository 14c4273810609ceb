"""`/admin/migration`: changes from one model to another while the service keeps storing and finding notes."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from service.errors import IndexUnavailable, MigrationConflict, StorageFull
from service.http.problems import describe_problems
from service.http.routes.common import EVERY_CALL, READS_BODY, RuntimeDep, check_caller
from service.serving import DEFAULT_SHARE, ModelVectors, Phase, Runtime, neighbour_overlap

router = APIRouter(prefix="/admin/migration", tags=["admin"], dependencies=[Depends(check_caller)])
CHANGES = describe_problems(*EVERY_CALL, *READS_BODY, MigrationConflict, IndexUnavailable, StorageFull)
EXAMPLE_PATH = "/checkpoints/2026-12"


class MigrationInfo(BaseModel):
    """The state of a migration."""

    phase: Phase = Field(
        description="`none`; `loading`: the new model is being loaded; `filling`: its vectors are being computed; `filled`: every note "
        "has one; `switched`: the new model answers."
    )
    source: ModelVectors | None = Field(default=None, description="The old model.")
    target: ModelVectors | None = Field(default=None, description="The new model.")
    notes: int = Field(description="Number of stored notes, an estimate above a million on a Qdrant server.")
    lacking: int = Field(
        description="Number of notes without a vector of the model that does not answer, an estimate like `notes`."
    )
    filled: int = Field(description="Number of vectors that this process has added.")
    failed: int = Field(description="Number of notes that a model cannot embed.")
    error: str | None = Field(default=None, description="The problem that stops the migration.")


class StartRequest(BaseModel):
    """The new model, and how fast to add its vectors."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"checkpoint": EXAMPLE_PATH, "share": 0.5}})

    checkpoint: Path = Field(description="Directory of the checkpoint on the service's machine.")
    share: float = Field(
        default=DEFAULT_SHARE,
        gt=0,
        le=1,
        description="Share of the time in which the back-fill works; the rest is left to the traffic.",
    )


class ChangeRequest(BaseModel):
    """How to change the model that answers."""

    model_config = ConfigDict(extra="forbid")

    force: bool = Field(
        default=False,
        description="True switches even if notes lack a vector of that model. Those notes are not found until they have one.",
    )


class OverlapInfo(BaseModel):
    """How much the two models agree on nearest notes."""

    notes: int = Field(description="Number of notes that were compared.")
    k: int = Field(description="Number of nearest notes of each.")
    mean: float | None = Field(description="Mean share of nearest notes that both models have in common, 0 to 1.")


async def _info(runtime: Runtime) -> MigrationInfo:
    status = await runtime.migration.status()
    return MigrationInfo(
        phase=status.phase,
        source=status.move.source if status.move else None,
        target=status.move.target if status.move else None,
        notes=status.notes,
        lacking=status.lacking,
        filled=status.filled,
        failed=status.failed,
        error=status.error,
    )


@router.get("", responses=describe_problems(*EVERY_CALL, IndexUnavailable), response_model_exclude_none=True)
async def migration(runtime: RuntimeDep) -> MigrationInfo:
    """Returns the state of the migration."""
    return await _info(runtime)


@router.post(
    "",
    responses=describe_problems(*EVERY_CALL, *READS_BODY, MigrationConflict, IndexUnavailable),
    response_model_exclude_none=True,
)
async def start(body: StartRequest, runtime: RuntimeDep) -> MigrationInfo:
    """Begins or resumes a migration to another model. The model is loaded and its vectors are added after the answer."""
    await runtime.migration.start(body.checkpoint, body.share)
    return await _info(runtime)


@router.get("/overlap", responses=describe_problems(*EVERY_CALL, MigrationConflict, IndexUnavailable))
async def overlap(
    runtime: RuntimeDep,
    sample: Annotated[int, Query(ge=1, le=1000, description="Number of notes to compare.")] = 50,
    k: Annotated[int, Query(ge=1, le=100, description="Number of nearest notes of each.")] = 10,
) -> OverlapInfo:
    """Compares the nearest notes that the two models find for a sample of notes."""
    found = await neighbour_overlap(*runtime.migration.views(), sample=sample, k=k)
    return OverlapInfo(notes=found.notes, k=found.k, mean=found.mean)


@router.post("/switch", responses=CHANGES, response_model_exclude_none=True)
async def switch(body: ChangeRequest, runtime: RuntimeDep) -> MigrationInfo:
    """Lets the new model answer. The old model's vectors are kept up to date, so that `rollback` is possible."""
    await runtime.migration.switch(force=body.force)
    return await _info(runtime)


@router.post("/rollback", responses=CHANGES, response_model_exclude_none=True)
async def rollback(body: ChangeRequest, runtime: RuntimeDep) -> MigrationInfo:
    """Lets the old model answer again."""
    await runtime.migration.roll_back(force=body.force)
    return await _info(runtime)


@router.post("/finish", responses=CHANGES, response_model_exclude_none=True)
async def finish(runtime: RuntimeDep) -> MigrationInfo:
    """Drops the old model and its vectors, after the switch. There is no way back."""
    await runtime.migration.finish()
    return await _info(runtime)


@router.post("/cancel", responses=CHANGES, response_model_exclude_none=True)
async def cancel(runtime: RuntimeDep) -> MigrationInfo:
    """Drops the new model and its vectors, before the switch."""
    await runtime.migration.cancel()
    return await _info(runtime)
