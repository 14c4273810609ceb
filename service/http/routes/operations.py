"""Health, metrics and the served model."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from notellm.messages import Health, ModelInfo
from service.errors import DeadlineExceeded, IndexUnavailable, ShuttingDown
from service.http.problems import describe_problems
from service.http.routes.common import RuntimeDep, ServedDep, SettingsDep

router = APIRouter(tags=["operations"])
# Probes and load balancers act on this status.
FAILING = HTTPStatus.SERVICE_UNAVAILABLE
ENDING = "the process is ending: accepted requests are answered, new ones are refused"
OUT_OF_STEP = "another model should answer, but it cannot be loaded here: `notellm-serve migrate --status` has the reason"


@router.get(
    "/health/live",
    responses={FAILING: {"model": Health, "description": "Restart the process."}},
    response_model_exclude_none=True,
)
async def live(runtime: RuntimeDep, response: Response) -> Health:
    """Says whether the model can still run. An idle service is healthy; after a stall, a canary forward pass decides."""
    failure = await runtime.liveness.failure()
    if failure:
        response.status_code = FAILING
        return Health(status="failing", detail=failure)
    return Health(status="ok")


@router.get(
    "/health/ready",
    responses={FAILING: {"model": Health, "description": "Send no traffic."}},
    response_model_exclude_none=True,
)
async def ready(runtime: RuntimeDep, request: Request, response: Response) -> Health:
    """Says whether requests can be answered: the model is loaded, the index answers, and the process is not shutting down.

    The call needs no key, so `detail` names only the part that fails; the log has the rest.
    """
    unfit = OUT_OF_STEP if runtime.migration.unfit else None
    ending = ENDING if request.app.state.drain.begun else None
    if failure := ending or unfit or runtime.engine.failure() or await runtime.readiness.failure():
        response.status_code = FAILING
        return Health(status="failing", detail=failure)
    return Health(status="ok")


@router.get(
    "/metrics",
    response_class=Response,
    responses={HTTPStatus.OK: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}},
)
async def metrics(runtime: RuntimeDep) -> Response:
    """Returns metrics in Prometheus' text format."""
    return Response(generate_latest(runtime.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/model", responses=describe_problems(ShuttingDown, IndexUnavailable, DeadlineExceeded), response_model_exclude_none=True
)
async def model(runtime: RuntimeDep, served: ServedDep, settings: SettingsDep) -> ModelInfo:
    """Returns the served checkpoint, prompt, engine and index."""
    manifest = served.checkpoint.manifest
    notes = await served.notes.count()
    return ModelInfo(
        name=manifest.name,
        fingerprint=served.checkpoint.fingerprint,
        base_model=manifest.base_model,
        prompt=manifest.prompt.model_dump(),
        dimensions=manifest.dimensions,
        categories=list(manifest.categories),
        engine=served.engine.name,
        index=runtime.index.name,
        notes=notes,
        notes_estimated=runtime.index.exact_up_to is not None and notes > runtime.index.exact_up_to,
        max_tokens=served.notes.max_tokens,
        warning=runtime.index.size_warning(notes, settings.embedded_index_notes),
    )
