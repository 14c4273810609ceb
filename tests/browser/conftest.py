"""A service with the playground, and a real Chromium that opens it."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from harness.service import RunningService, running_service
from notellm import PromptSettings
from tests.browser.opened import ARGUMENTS, Opened, Opener, open_page
from tests.browser.platform import NOTES
from tests.requirements import need
from tests.service.notes.tagging import make_knowing


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def chromium() -> AsyncIterator[Browser]:
    need("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture(scope="session")
def knowing(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A checkpoint that knows hashtags."""
    return make_knowing(tmp_path_factory.mktemp("knowing") / "checkpoint", tiny_base, PromptSettings()).path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, knowing: Path) -> Iterator[RunningService]:
    """With notes of three topics."""
    need("chromium")
    with running_service(knowing, tmp_path_factory.mktemp("playground"), NOTELLM_PLAYGROUND="true") as running:
        httpx.post(f"{running.url}/notes/embed", json={"notes": NOTES, "vectors": False}, timeout=300).raise_for_status()
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def opened(chromium: Browser, service: RunningService) -> AsyncIterator[Opened]:
    """A page of the service. At its end, nothing may have gone wrong that the browser reports."""
    async with open_page(chromium, service.url) as page:
        yield page
        page.check()


@pytest.fixture
def opener(chromium: Browser) -> Opener:
    """Opens pages of other services, or in other ways."""
    return lambda url, **context: open_page(chromium, url, **context)
