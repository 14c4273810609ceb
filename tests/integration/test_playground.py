"""The demo's playground in a browser. With NOTELLM_SCREENSHOTS=1 this makes the pictures of the README anew."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from demo.checkpoint import ensure_checkpoint
from demo.run import data_directory, serving
from demo.vectors import index_sample
from harness.service import free_port
from tests.browser.opened import ARGUMENTS, PATIENCE_MILLISECONDS
from tests.commands import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.needs("chromium")]
IMAGES = ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    checkpoint = ensure_checkpoint(ROOT / "checkpoints" / "demo")
    asyncio.run(index_sample(checkpoint, data_directory(checkpoint) / "index"))
    with serving(checkpoint, free_port()) as url:
        yield url


def look(page: Page, url: str, folder: Path) -> None:
    """Does what a visitor does, and takes a picture of each view."""
    page.goto(url)
    page.wait_for_selector("#served:not(:empty)")
    page.click("#example")
    page.wait_for_selector("#write-result table")
    page.wait_for_selector("#write-result ol")
    assert "espresso" in page.inner_text("#write-result tbody tr >> nth=0")
    assert "Category: coffee" in page.inner_text("#write-result")
    assert all("coffee" in one for one in page.locator("#write-result ol p.quiet").all_inner_texts()[:3])
    page.screenshot(path=folder / "playground-write.png")
    page.click("#write-result >> text=Show them on the map")
    page.wait_for_selector("#map-result >> text=It and its neighbours are lit:")
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # the last frame
    page.screenshot(path=folder / "playground-map.png")
    assert len(page.locator("#map-region option").all()) > 10


def test_a_visitor_of_the_demo(demo_url: str, tmp_path: Path) -> None:
    folder = IMAGES if os.environ.get("NOTELLM_SCREENSHOTS") else tmp_path
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1100, "height": 1000})
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        look(page, demo_url, folder)
        assert errors == []
        browser.close()
    for name in ("playground-write.png", "playground-map.png"):
        assert (folder / name).stat().st_size > 10_000
        assert (IMAGES / name).exists()
