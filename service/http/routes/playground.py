"""The playground at `/`: a page for people. Its files are in `service/http/page`; it asks the API as any other client does."""

from dataclasses import asdict
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, StrictBool
from starlette.exceptions import HTTPException

from service.http.routes.common import RuntimeDep, SettingsDep, check_caller
from service.note_map import NoteMap

FOLDER = Path(str(files("service.http") / "page"))
FILES_URL, MAP_URL = "/playground", "/admin/map"
_PAGE = (FOLDER / "index.html").read_text(encoding="utf-8")
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}
# What the page asks for, and a licence: nothing else of the folder is served.
_FILES = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*") if path.suffix in _MEDIA_TYPES}
# Scripts set the styles of single elements, which this policy allows: inline styles are not needed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

router = APIRouter(include_in_schema=False)


async def get_map(runtime: RuntimeDep) -> NoteMap:
    """Returns the map of the running service."""
    if runtime.note_map is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return runtime.note_map


MapDep = Annotated[NoteMap, Depends(get_map)]


@router.get("/")
async def page(settings: SettingsDep) -> HTMLResponse:
    """Returns the page. Without a prefix in the settings it names its files relative to itself, as `/docs` does."""
    text = _PAGE
    if settings.root_path:
        text = text.replace('="playground/', f'="{settings.root_path}{FILES_URL}/').replace(
            '="docs"', f'="{settings.root_path}/docs"'
        )
    return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})


@router.get(f"{FILES_URL}/{{name:path}}")
async def file(name: str) -> FileResponse:
    """Returns a file of the page."""
    if name not in _FILES:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return FileResponse(_FILES[name], media_type=_MEDIA_TYPES[_FILES[name].suffix])


class MapRequest(BaseModel):
    """Asks for a map."""

    model_config = ConfigDict(extra="forbid")

    again: StrictBool = False


@router.get(MAP_URL, dependencies=[Depends(check_caller)])
async def map_status(note_map: MapDep) -> dict[str, Any]:
    """Returns the state of the map of all notes."""
    return asdict(note_map.status)


@router.post(MAP_URL, dependencies=[Depends(check_caller)])
async def ask_for_map(note_map: MapDep, body: MapRequest) -> dict[str, Any]:
    """Begins to draw the map, if there is none, if it is outdated, or `again`, and returns its state.

    A POST with a JSON body: no page of another site may start it, and no program that only looks.
    """
    return asdict(await note_map.ask(again=body.again))


@router.get(f"{MAP_URL}/points", dependencies=[Depends(check_caller)])
async def map_points(note_map: MapDep) -> Response:
    """Returns the points of the latest map."""
    if (sheet := note_map.sheet) is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return Response(sheet.packed, media_type="application/json", headers={"Content-Encoding": "gzip"})
