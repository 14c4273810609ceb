"""`/docs`: the interactive description. It works without the internet: a package brings its script and its style."""

from http import HTTPStatus
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

from service.http.browsers import page_policy
from service.http.routes.common import SettingsDep

OPENAPI_URL, DOCS_URL, OAUTH2_REDIRECT_URL = "/openapi.json", "/docs", "/docs/oauth2-redirect"
SCRIPT, STYLE, ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"
_MEDIA_TYPES = {SCRIPT: "text/javascript", STYLE: "text/css", ICON: "image/png"}
_FOLDER = Path(str(files("fastapi_offline") / "static"))

router = APIRouter(include_in_schema=False)
start_router = APIRouter(include_in_schema=False)


@start_router.get("/")
async def start_page(settings: SettingsDep) -> RedirectResponse:
    """Redirects `/` to the description, where there is no playground. The address names neither scheme nor host.

    Without a prefix in the settings the address is relative, which still works behind a proxy's path with a slash at its end.
    """
    return RedirectResponse(f"{settings.root_path}{DOCS_URL}" if settings.root_path else DOCS_URL[1:])


@router.get(DOCS_URL)
async def page(request: Request, settings: SettingsDep) -> HTMLResponse:
    """Returns Swagger UI. The page names its files and the description relative to itself, which is right behind any prefix."""
    here = "../" if request.scope["raw_path"].endswith(b"/") else ""
    answer = get_swagger_ui_html(
        openapi_url=f"{here}{OPENAPI_URL[1:]}",
        title=f"{request.app.title} - Swagger UI",
        oauth2_redirect_url=f"{settings.root_path}{OAUTH2_REDIRECT_URL}",
        swagger_js_url=f"{here}docs/{SCRIPT}",
        swagger_css_url=f"{here}docs/{STYLE}",
        swagger_favicon_url=f"{here}docs/{ICON}",
        swagger_ui_parameters={"validatorUrl": None},  # it would send the address of the description to Swagger's own server
    )
    answer.headers["Content-Security-Policy"] = page_policy(bytes(answer.body).decode())
    return answer


@router.get(OAUTH2_REDIRECT_URL)
async def oauth2_redirect() -> HTMLResponse:
    """Returns the page to which Swagger UI leads back after a login by OAuth 2."""
    return get_swagger_ui_oauth2_redirect_html()


@router.get(f"{DOCS_URL}/{{name}}")
async def file(name: str) -> FileResponse:
    """Returns a file of the page."""
    if name not in _MEDIA_TYPES:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return FileResponse(_FOLDER / name, media_type=_MEDIA_TYPES[name])
