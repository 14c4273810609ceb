"""The map in the browser: drawn by the service, shown with WebGL."""

import pytest

from tests.browser.opened import Opened
from tests.browser.platform import NOTES

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("chromium"), pytest.mark.slow]


async def drawn(opened: Opened) -> None:
    await opened.page.wait_for_selector("#map-canvas canvas")


async def test_all_notes_are_on_the_map(opened: Opened) -> None:
    await opened.ready()
    await opened.view("map")
    await drawn(opened)
    assert f"{len(NOTES)} notes." in await opened.text("#map-result")
    assert {"coffee", "beer", "quantum computing"} <= {one.strip() for one in await opened.texts(".legend li")}
    assert await opened.page.get_attribute("#map-canvas", "role") == "img"
    await opened.until("document.querySelector('#map-canvas canvas').width > 300")


async def test_a_region_lists_its_notes(opened: Opened) -> None:
    await opened.ready()
    await opened.view("map")
    await drawn(opened)
    names = await opened.texts("#map-region option")
    assert len(names) > 1
    await opened.page.select_option("#map-region", "0")
    await opened.page.wait_for_selector("#map-result ul li a[href^='#/note/']")
    await opened.page.click("#map-result ul li a[href^='#/note/'] >> nth=0")
    await opened.page.wait_for_selector("#note-result ol")


async def test_a_note_and_its_neighbours_are_lit(opened: Opened) -> None:
    await opened.ready()
    await opened.view("note/c3")
    await opened.page.click("#note-result >> text=Show them on the map")
    await drawn(opened)
    await opened.page.wait_for_selector("#map-result >> text=It and its neighbours are lit:")
    assert await opened.text("#map-result h3") == "Cold brew number 3 tastes sour"
    await opened.view("write")
    await opened.write("Which hops for batch 99?")
    await opened.page.click("#write-result >> text=Show them on the map")
    await opened.page.wait_for_selector("#map-result h3 >> text=Which hops for batch 99?")
    assert len(await opened.texts("#map-result ol li")) == 10


async def test_a_point_shows_its_title_and_leads_to_its_neighbours(opened: Opened) -> None:
    await opened.ready()
    await opened.view("map")
    await drawn(opened)
    box = await opened.page.locator("#map-canvas").bounding_box()
    assert box is not None
    for row in range(1, 20):
        for column in range(1, 40):
            await opened.page.mouse.move(box["x"] + box["width"] * column / 40, box["y"] + box["height"] * row / 20)
            if await opened.page.locator(".map-tip").count():
                await opened.page.mouse.down()
                await opened.page.mouse.up()
                await opened.page.wait_for_selector("#map-result >> text=It and its neighbours are lit:")
                return
    pytest.fail("no point was found")


async def test_it_is_drawn_again_when_somebody_wants_it(opened: Opened) -> None:
    await opened.ready()
    await opened.view("map")
    await drawn(opened)
    await opened.page.click("text=Draw a new map")
    await opened.page.wait_for_selector("#map-counts >> text=A new map is being drawn")
    await opened.until("!document.querySelector('#map-counts').textContent.includes('being drawn')")
    await drawn(opened)
