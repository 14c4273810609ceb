"""axe's rules hold in every view, light and dark, wide and narrow."""

from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe

from harness.service import RunningService
from tests.browser.opened import Opener

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("chromium")]
AXE = Axe()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
async def test_nothing_is_against_the_rules(
    opener: Opener, service: RunningService, scheme: Literal["light", "dark"], width: int
) -> None:
    async with opener(service.url, color_scheme=scheme) as page:
        await page.page.set_viewport_size({"width": width, "height": 800})
        await page.ready()
        await page.write("Cold brew number 7 tastes sour", "Steeped for 7 hours in cold water.")
        found = [("write", (await AXE.run(page.page)).response["violations"])]
        await page.view("note/c3")
        await page.page.wait_for_selector("#note-result ol")
        await page.page.click("#note-result >> text=Add to history >> nth=0")
        await page.page.click("#note-result summary >> text=Filters")
        found.append(("note", (await AXE.run(page.page)).response["violations"]))
        await page.view("history")
        await page.until("document.querySelectorAll('#history-result section ol').length === 2")
        found.append(("history", (await AXE.run(page.page)).response["violations"]))
        await page.view("service")
        await page.page.wait_for_selector("#service-result table")
        found.append(("service", (await AXE.run(page.page)).response["violations"]))
        await page.view("note/nobody")
        await page.page.wait_for_selector("#note-result [role=alert]")
        found.append(("error", (await AXE.run(page.page)).response["violations"]))
        await page.view("find")
        await page.page.fill("#find-text", "hops")
        await page.page.press("#find-text", "Enter")
        await page.page.wait_for_selector("#find-result ol")
        found.append(("find", (await AXE.run(page.page)).response["violations"]))
        await page.page.evaluate("document.querySelector('#key-dialog').showModal()")
        found.append(("key", (await AXE.run(page.page)).response["violations"]))
        broken = [(view, rule["id"], [node["html"][:200] for node in rule["nodes"]]) for view, rules in found for rule in rules]
        assert broken == []
        assert await page.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_map_too(opener: Opener, service: RunningService, scheme: Literal["light", "dark"]) -> None:
    async with opener(service.url, color_scheme=scheme) as page:
        await page.ready()
        await page.view("map")
        await page.page.wait_for_selector("#map-canvas canvas")
        assert [(rule["id"], rule["nodes"]) for rule in (await AXE.run(page.page)).response["violations"]] == []
