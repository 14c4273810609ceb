"""People write a note, walk from neighbour to neighbour and look at what a user read."""

import json
import re
import shlex

import httpx
import pytest

from tests.browser.opened import Opened
from tests.browser.platform import ARABIC, LONG, NOTES, SCRIPT

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("chromium")]


def sent(command: str) -> object:
    """What the service answers to a curl command."""
    words = shlex.split(command)
    assert words[:2] == ["curl", "-s"]
    body = words[words.index("-d") + 1] if "-d" in words else None
    if body is None:
        return httpx.get(words[2], timeout=300).json()
    return httpx.post(words[2], content=body, headers={"Content-Type": "application/json"}, timeout=300).json()


async def test_a_note_that_is_written_gets_hashtags_a_category_and_neighbours(opened: Opened) -> None:
    await opened.ready()
    assert f"{len(NOTES)} notes" in await opened.text("#served")
    await opened.write("Cold brew number 7 tastes sour", "Steeped for 7 hours in cold water.")
    rows = await opened.texts("#write-result tbody tr")
    assert rows
    assert all(re.search(r"\d+%", row) and re.search("the model|stored notes near it", row) for row in rows)
    suggested = await opened.text("#write-result section >> nth=0")
    assert re.search(r"Category: .+\(\d+% sure\)", suggested)
    assert re.search(r"The model read \d+ tokens. Nothing was cut off.", suggested)
    neighbours = await opened.texts("#write-result ol > li")
    assert len(neighbours) == 10
    assert "score 0." in neighbours[0]
    found = sent(await opened.page.text_content("#write-result section >> nth=1 >> pre") or "")
    assert isinstance(found, dict)
    assert [one["title"] for one in found["neighbours"]] == await opened.texts("#write-result ol h4")


async def test_what_is_too_long_is_said_to_be_cut(opened: Opened) -> None:
    await opened.ready()
    await opened.write("Cold brew", "sour " * 3000)
    assert "Too long, so that the end was cut off: content." in await opened.text("#write-result")


async def test_neighbours_lead_on_and_filters_narrow_them(opened: Opened) -> None:
    await opened.ready()
    await opened.view("find")
    await opened.page.fill("#find-id", "c3")
    await opened.page.press("#find-id", "Enter")
    await opened.page.wait_for_selector("#note-result ol")
    assert await opened.text("#note-result h3 >> nth=0") == "Cold brew number 3 tastes sour"
    first = opened.page.locator("#note-result ol h4 a").first
    title = await first.inner_text()
    await first.click()
    await opened.until("document.querySelector('#note-result h3')?.textContent === value", title)
    assert await opened.page.evaluate("document.activeElement.id") == "note-heading"
    await opened.page.click("#note-result summary >> text=Filters")
    await opened.page.select_option("#near-category", "beer")
    await opened.until("[...document.querySelectorAll('#note-result ol > li')].every((one) => one.innerText.includes('beer'))")
    assert all("beer" in one for one in await opened.texts("#note-result ol > li"))
    await opened.page.select_option("#near-limit", "5")
    await opened.page.fill("#near-created_after", "2026-05-01")
    await opened.page.fill("#near-hashtag", "Hops")
    await opened.page.fill("#near-min_score", "-0.5")
    await opened.page.select_option("#near-diversity", "0.5")
    await opened.until("document.querySelectorAll('#note-result ol > li').length === 5")
    await opened.until("document.querySelector('#note-result pre').textContent.includes('diversity')")
    command = await opened.page.text_content("#note-result pre") or ""
    for part in ("limit=5", "category=beer", "hashtag=Hops", "created_after=2026-05-01T00", "min_score=-0.5", "diversity=0.5"):
        assert part in command
    found = sent(command)
    assert isinstance(found, dict)
    assert [one["title"] for one in found["neighbours"]] == await opened.texts("#note-result ol h4")
    await opened.page.go_back()
    await opened.until("document.querySelector('#note-result h3')?.textContent.includes('number 3 ')")


async def test_shared_hashtags_stand_out(opened: Opened) -> None:
    await opened.ready()
    await opened.view("note/b1")
    await opened.page.wait_for_selector("#note-result ol")
    shared = await opened.texts("#note-result ol .shared")
    assert shared
    assert all(one.endswith("shared") for one in shared)


async def test_notes_are_found_by_what_they_are_about(opened: Opened) -> None:
    await opened.ready()
    await opened.view("find")
    await opened.page.fill("#find-text", "A noisy gate on qubit 4")
    await opened.page.press("#find-text", "Enter")
    await opened.page.wait_for_selector("#find-result ol")
    assert await opened.text("#announce") == "20 notes found."
    assert len(await opened.texts("#find-result ol > li")) == 20


async def test_a_history_finds_what_its_mean_finds_beside_the_cold_start(opened: Opened) -> None:
    await opened.ready()
    await opened.view("history")
    await opened.page.wait_for_selector("#history-result >> text=Nothing is picked yet")
    await opened.view("note/c1")
    await opened.page.click("#note-result >> text=Add to history >> nth=0")
    await opened.view("note/b2")
    await opened.until("document.querySelector('#note-result h3')?.textContent.includes('batch 2')")
    await opened.page.click("#note-result >> text=Add to history >> nth=0")
    await opened.view("history")
    await opened.until("document.querySelectorAll('#history-result section ol').length === 2")
    assert len(await opened.texts("#history-result ul.plain:not(.tags) > li")) == 2
    mean, cold = [
        await opened.page.locator("#history-result section").nth(place).locator("pre").text_content() for place in (0, 1)
    ]
    assert json.loads(shlex.split(mean or "")[-1])["ids"] == ["c1", "b2"]
    assert json.loads(shlex.split(cold or "")[-1])["note"]["title"] == "Which hops for batch 2?"
    for place, command in enumerate((mean, cold)):
        found = sent(command or "")
        assert isinstance(found, dict)
        assert [one["title"] for one in found["neighbours"]] == await opened.texts(
            f"#history-result section >> nth={place} >> h4"
        )
    await opened.page.click("#history-result >> text=Remove >> nth=0")
    await opened.until("document.querySelectorAll('#history-result ul.plain:not(.tags) > li').length === 1")


@pytest.mark.parametrize(
    ("note_id", "title"), [("script", SCRIPT), ("long", LONG[:2000].strip()), ("arabic", ARABIC), ("a.b:c~1@x", None)]
)
async def test_what_users_wrote_is_text(opened: Opened, note_id: str, title: str | None) -> None:
    await opened.ready()
    await opened.page.evaluate("id => { location.hash = `#/note/${encodeURIComponent(id)}` }", note_id)
    await opened.page.wait_for_selector("#note-result ol")
    if title:
        shown = opened.page.locator("#note-result h3").first
        assert (await shown.text_content() or "").strip() == title
        assert await shown.evaluate("element => getComputedStyle(element).direction") == ("rtl" if title == ARABIC else "ltr")
    assert await opened.page.evaluate("window.hacked") is None
    assert await opened.page.locator("#note-result :is(img, script, b, i)").count() == 0
    # Nothing is wider than the window.
    assert await opened.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


async def test_the_service_at_a_glance(opened: Opened) -> None:
    await opened.ready()
    await opened.view("service")
    await opened.until("document.querySelectorAll('#service-result table').length === 3")
    shown = await opened.text("#service-result")
    for part in ("knowing", "Longest prompt", "Requests answered", "tokens wait", "within", "Change of model", "none"):
        assert part in shown
    await opened.until("/Requests a second\\s+[0-9.]+/.test(document.querySelector('#service-result').innerText)")


async def test_it_works_with_the_keyboard(opened: Opened) -> None:
    await opened.ready()
    await opened.page.locator(".skip").focus()
    assert (await opened.page.locator(".skip").bounding_box() or {"x": -1})["x"] >= 0
    await opened.view("note/c3")
    await opened.page.wait_for_selector("#note-result ol")
    await opened.page.locator(".skip").focus()
    await opened.page.keyboard.press("Enter")
    assert await opened.page.locator("#view-note").is_visible()
    await opened.view("toString")  # no view: the first one is shown
    await opened.page.wait_for_selector("#view-write:not([hidden])")
    await opened.page.focus("#note-title")
    await opened.page.keyboard.type("Hops")
    await opened.page.keyboard.press("Enter")
    await opened.page.wait_for_selector("#write-result ol")
    reached = set()
    for _ in range(25):
        await opened.page.keyboard.press("Tab")
        reached.add(await opened.page.evaluate("document.activeElement.tagName"))
    assert reached >= {"TEXTAREA", "INPUT", "BUTTON", "SUMMARY", "A"}
