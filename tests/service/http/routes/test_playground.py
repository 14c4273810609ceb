"""The page at `/`, its files and the map, without a browser. `tests/browser` opens it in one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.http.routes.playground import FOLDER, POLICY
from service.settings import Settings
from tests.service.calls import NOTES
from tests.service.security.keyed import asking, bearer, write_keys

OTHER_HOST = re.compile(r"""(?:src|href|from|import\(|url\()\s*=?\s*["'(]?(?:https?:)?//""")


def named(html: str) -> list[str]:
    return [one for one in re.findall(r'(?:src|href)="([^"#][^"]*)"', html) if one != "docs" and not one.endswith("/docs")]


async def test_it_is_off_by_default(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).headers["location"] == "docs"
    for path in ("/playground/main.js", "/admin/map", "/admin/map/points"):
        assert (await client.get(path)).status_code == 404
    assert (await client.post("/admin/map", json={})).status_code == 404


async def test_the_page_and_its_files_come_from_the_service_alone(settings_for: Callable[..., Settings]) -> None:
    async with asking(settings_for(playground=True)) as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert page.headers["Content-Security-Policy"] == POLICY
        assert "unsafe" not in POLICY
        wanted = named(page.text)
        assert len(wanted) == 3
        for name in wanted:
            assert (await client.get(f"/{name}")).status_code == 200
        for path in FOLDER.rglob("*"):
            if path.suffix in {".js", ".css"}:
                answer = await client.get(f"/playground/{path.relative_to(FOLDER).as_posix()}")
                assert answer.headers["content-type"].split(";")[0] in {"text/javascript", "text/css"}
                assert answer.content == path.read_bytes()
                assert not OTHER_HOST.search(answer.text)
        assert not OTHER_HOST.search(page.text)
        assert "<script>" not in page.text
        for outside in ("../playground.py", "%2e%2e/__init__.py", "index.html", "vendor", "nope.js", "/etc/passwd"):
            assert (await client.get(f"/playground/{outside}")).status_code == 404


@pytest.mark.parametrize("root_path", ["", "/notes-of/ours"])
async def test_it_works_behind_a_prefix(settings_for: Callable[..., Settings], root_path: str) -> None:
    async with asking(settings_for(playground=True, root_path=root_path)) as client:
        html = (await client.get(f"{root_path}/")).text
        address = httpx.URL(f"http://test{root_path}/")
        for name in named(html):
            assert (await client.get(address.join(name))).status_code == 200
        if root_path:  # also without a slash at its end, where a relative name would lead elsewhere
            assert all(name.startswith(f"{root_path}/playground/") for name in named(html))
            assert f'href="{root_path}/docs"' in html


async def test_the_map_is_drawn_when_it_is_asked_for(settings_for: Callable[..., Settings]) -> None:
    async with asking(settings_for(playground=True)) as client:
        assert (await client.get("/admin/map/points")).status_code == 404
        await client.post("/notes/embed", json={"notes": NOTES})
        assert (await client.get("/admin/map")).json()["state"] == "none"
        assert (await client.head("/admin/map")).status_code == 200
        assert (await client.get("/admin/map?again=true")).json()["state"] == "none"
        # What a form of another site can send begins nothing.
        foreign = await client.post("/admin/map", content="{}", headers={"Content-Type": "text/plain"})
        assert foreign.status_code == 400
        assert (await client.post("/admin/map", json={"again": "yes"})).status_code == 422
        status: dict[str, Any] = (await client.post("/admin/map", json={})).json()
        assert status["state"] == "drawing"
        runtime = client._transport.app.state.runtime  # type: ignore[attr-defined]
        await runtime.note_map._drawing
        status = (await client.get("/admin/map")).json()
        assert (status["state"], status["total"], status["error"]) == ("ready", len(NOTES), None)
        points = (await client.get("/admin/map/points")).json()
        assert sorted(points["ids"]) == sorted(note["id"] for note in NOTES)
        assert (await client.post("/admin/map", json={"again": True})).json()["state"] == "drawing"


async def test_the_page_is_open_and_the_map_needs_the_scope_admin(
    settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    keys = write_keys(tmp_path / "keys.toml")
    async with asking(settings_for(playground=True, api_keys_file=keys)) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/playground/main.js")).status_code == 200
        assert (await client.get("/admin/map")).status_code == 401
        refused = await client.get("/admin/map", headers=bearer("read"))
        assert (refused.status_code, "admin" in refused.json()["detail"]) == (403, True)
        assert (await client.get("/admin/map", headers=bearer("admin"))).status_code == 200
