"""`Opened`: a page that is open in the browser, and everything that the browser reports of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, Request

# Root has no sandbox. A machine without a graphics card draws in software.
ARGUMENTS = ["--no-sandbox", "--enable-unsafe-swiftshader"]
PATIENCE_MILLISECONDS = 300_000  # of a busy machine: what is there is noticed at once

Opener = Callable[..., AbstractAsyncContextManager["Opened"]]


@dataclass
class Opened:
    """A page.

    Attributes:
        page: for what a test does.
        url: address of the service.
        errors: what the console says, and errors of scripts.
        requests: addresses that were asked for.
    """

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def view(self, place: str) -> None:
        """Opens a view by its address."""
        await self.page.goto(f"{self.url}/#/{place}")

    async def ready(self) -> None:
        """Waits until the page knows the model."""
        await self.page.wait_for_selector("#served:not(:empty)")

    async def write(self, title: str, content: str = "") -> None:
        """Writes a note and waits for all that the service says of it."""
        await self.page.fill("#note-title", title)
        await self.page.fill("#note-content", content)
        await self.page.click("#write-form button:not([type])")
        await self.page.wait_for_selector("#write-result section:nth-of-type(1) > div > :not(progress)")
        await self.until("!document.querySelector('#write-result progress')")

    async def until(self, condition: str, value: object = None) -> None:
        """Waits for a condition in JavaScript, which may use `value`. As a function, because the page's policy forbids to evaluate text."""
        await self.page.wait_for_function(f"value => {condition}", arg=value)

    async def text(self, selector: str) -> str:
        return await self.page.inner_text(selector)

    async def texts(self, selector: str) -> list[str]:
        return await self.page.locator(selector).all_inner_texts()

    def check(self, *expected: str) -> None:
        """Nothing was reported but what is expected, and no other host was asked."""
        left = [error for error in self.errors if not any(one in error for one in expected)]
        assert not left
        assert [one for one in self.requests if not one.startswith((self.url, "data:", "blob:"))] == []


@asynccontextmanager
async def open_page(chromium: Browser, url: str, **context: Any) -> AsyncIterator[Opened]:
    """Opens the page of a service in a fresh browser profile."""
    profile = await chromium.new_context(viewport={"width": 1200, "height": 900}, **context)
    profile.set_default_timeout(PATIENCE_MILLISECONDS)
    page = await profile.new_page()
    opened = Opened(page, url)

    def heard(message: ConsoleMessage) -> None:
        # Warnings are the browser's own: that there is no graphics card.
        if message.type == "error":
            opened.errors.append(message.text)

    def asked(request: Request) -> None:
        opened.requests.append(request.url)

    page.on("console", heard)
    page.on("pageerror", lambda error: opened.errors.append(str(error)))
    page.on("request", asked)
    try:
        await page.goto(f"{url}/")
        yield opened
    finally:
        await profile.close()
