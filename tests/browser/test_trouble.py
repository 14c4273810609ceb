"""What people see when something is wrong: refusals, a service that dies, an index without notes, a browser without scripts."""

from pathlib import Path

import httpx
import pytest
from playwright.async_api import Route

from harness.service import RunningService, running_service
from service.security import Scope
from tests.browser.opened import Opened, Opener
from tests.browser.platform import NOTES
from tests.service.security.keyed import KEYS, write_keys

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("chromium")]
# The browser itself reports each answer of 400 or more.
REFUSED = "Failed to load resource"


async def entered(page: Opened, key: str) -> None:
    await page.page.wait_for_selector("#key-dialog[open]")
    await page.page.fill("#key", key)
    await page.page.click("text=Use this key")


async def test_a_key_is_asked_for_and_kept_in_memory_only(opener: Opener, tiny_path: Path, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml")
    with running_service(tiny_path, tmp_path / "data", NOTELLM_PLAYGROUND="true", NOTELLM_API_KEYS_FILE=str(keys)) as service:
        async with opener(service.url) as page:
            await page.page.wait_for_selector("#key-dialog[open]")
            assert "Send an API key in the header" in await page.text("#key-reason")
            await entered(page, "ключ")
            await page.page.wait_for_selector("#key-reason >> text=This cannot be a key")
            await entered(page, "a-key-that-has-expired")
            await page.page.wait_for_selector("#key-reason >> text=unknown")
            await entered(page, KEYS[Scope.READ])
            await page.ready()
            await page.write("Hops")
            await page.page.wait_for_selector("#write-result >> text=No stored note fits.")
            assert '-H "Authorization: Bearer $NOTELLM_API_KEY"' in (await page.page.text_content("#write-result pre") or "")
            assert KEYS[Scope.READ] not in await page.page.content()
            # A map lists all notes, and the numbers of the service are for its operators.
            await page.view("map")
            await page.page.wait_for_selector("#map-result [role=alert] >> text=scope admin")
            await page.view("service")
            await page.page.wait_for_selector("text=More is shown to a key with the scope metrics.")
            await page.view("map")
            await page.page.click("#map-result >> text=Enter an API key")
            await entered(page, KEYS[Scope.ADMIN])
            await page.page.wait_for_selector("#map-result >> text=No note is stored yet")
            assert await page.page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
            page.check(REFUSED)
            await page.page.reload()
            await page.page.wait_for_selector("#key-dialog[open]")
            await page.page.keyboard.press("Escape")
            await page.page.wait_for_selector("#messages >> text=An API key is needed")


async def test_a_rate_limit_says_how_long_to_wait(opener: Opener, tiny_path: Path, tmp_path: Path) -> None:
    # So few requests a second that the next one is refused, however slow the machine is.
    with running_service(tiny_path, tmp_path, NOTELLM_PLAYGROUND="true", NOTELLM_REQUESTS_PER_SECOND="0.001") as service:
        async with opener(service.url) as page:
            await page.ready()
            for _ in range(2):
                await page.write("Hops")
            await page.page.wait_for_selector("#write-result >> text=Too many requests.")
            await page.page.wait_for_selector("#write-result >> text=/The service asks to wait \\d+ seconds/")
            assert await page.page.locator("#write-result .problem button").first.is_disabled()
            # What a screen reader reads at once does not change with each second.
            assert "asks to wait" not in await page.text("#write-result [role=alert] >> nth=0")
            page.check(REFUSED)


async def test_after_the_wait_one_may_try_again(opened: Opened) -> None:
    await opened.ready()

    async def refuse(route: Route) -> None:
        document = {"type": "urn:notellm:problem:queue-full", "detail": "busy"}
        await route.fulfill(status=429, json=document, headers={"Retry-After": "1"})

    await opened.page.route("**/notes/similar", refuse)
    await opened.write("Hops")
    await opened.page.unroute("**/notes/similar")
    await opened.page.click("#write-result .problem button:enabled")
    await opened.page.wait_for_selector("#write-result ol")
    opened.errors.clear()


@pytest.mark.parametrize(
    ("status", "kind", "title"),
    [
        (503, "shutting-down", "Not available now."),
        (504, "deadline-exceeded", "This took too long."),
        (500, "unexpected", "The service failed."),
        (413, "body-too-large", "Too much text."),
    ],
)
async def test_each_refusal_is_shown(opened: Opened, status: int, kind: str, title: str) -> None:
    """The answers are the test's own: a service cannot be made to give each of them."""
    await opened.ready()

    async def refuse(route: Route) -> None:
        document = {"type": f"urn:notellm:problem:{kind}", "detail": "because <b>it</b> is so", "request_id": "r-17"}
        await route.fulfill(status=status, json=document, headers={"Content-Type": "application/problem+json"})

    await opened.page.route("**/notes/**", refuse)
    await opened.write("Hops")
    shown = await opened.text("#write-result .problem >> nth=0")
    for part in (title, "Because <b>it</b> is so.", "Try again", "r-17"):
        assert part in shown
    await opened.page.unroute("**/notes/**")
    await opened.page.click("#write-result >> text=Try again >> nth=0")
    await opened.page.wait_for_selector("#write-result ol")
    opened.errors.clear()


async def test_a_note_that_is_not_stored_and_a_note_without_text(opened: Opened) -> None:
    await opened.ready()
    await opened.view("note/nobody")
    await opened.page.wait_for_selector("#note-result >> text=Not found.")
    assert "not stored: nobody" in (await opened.text("#note-result")).lower()
    await opened.view("write")
    await opened.write("", "")
    assert "The service cannot take this." in await opened.text("#write-result")
    await opened.view("note/%E0%A4%A")  # not UTF-8
    await opened.page.wait_for_selector("#note-result [role=alert]")
    opened.errors.clear()


async def test_a_service_that_dies_while_the_page_is_open(opener: Opener, tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path, NOTELLM_PLAYGROUND="true") as service:
        async with opener(service.url) as page:
            await page.ready()
            service.stop()
            await page.write("Hops")
            assert "No answer. The service does not answer. Is it still running?" in await page.text("#write-result")
            await page.view("service")
            await page.page.wait_for_selector("#service-result >> text=No answer.")
            page.check("net::ERR_CONNECTION_REFUSED", REFUSED)


async def test_an_index_of_no_notes_and_of_one(opener: Opener, tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path, NOTELLM_PLAYGROUND="true") as service:
        async with opener(service.url) as page:
            await page.ready()
            assert "0 notes" in await page.text("#served")
            await page.write("Hops")
            assert "No stored note fits." in await page.text("#write-result")
            await page.view("map")
            await page.page.wait_for_selector("#map-result >> text=No note is stored yet")
            async with httpx.AsyncClient(timeout=300) as client:
                (await client.post(f"{service.url}/notes/embed", json={"notes": NOTES[:1]})).raise_for_status()
            await page.page.reload()
            await page.ready()
            await page.page.wait_for_selector("#map-canvas canvas")
            await page.view(f"note/{NOTES[0]['id']}")
            await page.page.wait_for_selector("#note-result >> text=No stored note fits.")
            assert "1 note" in await page.text("#served")
            page.check()


async def test_without_scripts_it_says_what_to_do(opener: Opener, service: RunningService) -> None:
    async with opener(service.url, java_script_enabled=False) as page:
        assert "needs JavaScript" in await page.text("noscript")
        assert await page.page.locator("#view-write").is_visible()


async def test_behind_a_prefix(opener: Opener, tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path, NOTELLM_PLAYGROUND="true", NOTELLM_ROOT_PATH="/ours/notes") as service:
        for address in ("/ours/notes", "/ours/notes/"):
            async with opener(f"{service.url}{address}") as page:
                await page.ready()
                page.url = service.url
                page.check()
                assert any(one == f"{service.url}/ours/notes/model" for one in page.requests)


async def test_a_key_that_is_entered_later_opens_everything(opener: Opener, tiny_path: Path, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml")
    with running_service(tiny_path, tmp_path / "data", NOTELLM_PLAYGROUND="true", NOTELLM_API_KEYS_FILE=str(keys)) as service:
        async with opener(service.url) as page:
            await page.page.wait_for_selector("#key-dialog[open]")
            await page.page.keyboard.press("Escape")
            await page.view("find")
            await page.page.fill("#find-text", "hops")
            await page.page.press("#find-text", "Enter")
            await entered(page, KEYS[Scope.READ])
            await page.ready()
            await page.page.wait_for_selector("#find-result >> text=No stored note fits.")


async def test_the_map_comes_back_after_an_error(opened: Opened) -> None:
    """The drawing is not waited for: its state is the test's own."""
    await opened.ready()
    states = iter(["ready", None, "ready", "ready"])
    empty = {"ids": [], "titles": [], "x": "", "y": "", "category": "", "categories": [], "regions": [], "vector_name": "m"}

    async def answer(route: Route) -> None:
        state = next(states, "failed")
        if state is None:
            await route.fulfill(status=503, json={"type": "urn:notellm:problem:index-unavailable", "detail": "away"})
            return
        error = "no room" if state == "failed" else None
        status = {
            "state": state,
            "progress": 1,
            "total": 0,
            "shown": 0,
            "drawn_at": "2026-01-01T00:00:00+00:00",
            "error": error,
        }
        await route.fulfill(json=status)

    async def points(route: Route) -> None:
        await route.fulfill(json=empty)

    await opened.page.route("**/admin/map", answer)
    await opened.page.route("**/admin/map/points", points)
    await opened.view("map")
    await opened.page.wait_for_selector("#map-result >> text=No note is stored yet")
    await opened.page.click("text=Draw a new map")
    await opened.page.wait_for_selector("#map-result >> text=Not available now.")
    await opened.page.click("#map-result >> text=Try again")
    await opened.page.wait_for_selector("#map-result >> text=No note is stored yet")
    # A note that is newer than the map has nothing to be lit on.
    await opened.view("note/c3")
    await opened.page.click("#note-result >> text=Show them on the map")
    await opened.page.wait_for_selector("#map-result >> text=No note is stored yet")
    # The earlier map stays when a new one cannot be drawn.
    await opened.page.click("text=Draw a new map")
    await opened.page.wait_for_selector("#map-result >> text=A new map cannot be drawn: no room")
    assert "No note is stored yet" in await opened.text("#map-result")
    opened.errors.clear()
