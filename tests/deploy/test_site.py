"""The documentation site: what is on it, and that a reader's browser asks no other host for anything.

`test_new_pages.py` tests what its new pages claim.
"""

import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from deploy.site.links import without_links_out
from tests.commands import ROOT, run

DOCS = ROOT / "docs"
SOURCES = sorted(DOCS.rglob("*.md"))
# The only page with syntax of MkDocs: the site shows docstrings on it.
REFERENCE = DOCS / "client-reference.md"
CONFIGURATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
# What a page is made of, apart from its text.
TAGS = {"code", "em", "h1", "h2", "h3", "h4", "img", "li", "ol", "pre", "strong", "table", "td", "tr", "ul"}
# Elements whose addresses a browser asks for by itself. The addresses of `<a>` wait for a click.
ASKED = {"href": {"link", "use", "image"}, "src": None, "srcset": None, "poster": None, "data": {"object"}, "action": {"form"}}
ELSEWHERE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)


class Reader(HTMLParser):
    """Reads the text of a page, its elements, and the addresses that a browser would ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.styles = "", ""
        self.tags: Counter[str] = Counter()
        self.addresses: list[str] = []
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        values = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in {"style", "script"} or values.get("class") == "headerlink" else None
        self.styles += values.get("style", "")
        self.addresses += [values[name] for name, tags in ASKED.items() if name in values and (tags is None or tag in tags)]

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.styles += data
        elif self._inside is None:
            self.text += data

    @property
    def shown(self) -> str:
        """The text without white space."""
        return "".join(self.text.split())


def styled_from(styles: str) -> list[str]:
    """The addresses that style sheets name."""
    return re.findall(r"url\(\s*['\"]?([^'\")]+)", styles) + re.findall(r"@import\s+['\"]([^'\"]+)", styles)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make site` builds it."""
    folder = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder), NO_MKDOCS_2_WARNING="1")
    return folder


def page_of(source: Path, site: Path) -> str:
    place = source.relative_to(DOCS).with_suffix(".html")
    return (site / (place.with_name("index.html") if source.stem == "README" else place)).read_text(encoding="utf-8")


def pages_in(entry: Any) -> list[str]:
    """The pages of a part of the navigation, in order."""
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages_in(part)]


def test_every_page_is_in_the_navigation_once() -> None:
    listed = pages_in(CONFIGURATION["nav"])
    assert sorted(listed) == sorted([*(str(source.relative_to(DOCS)) for source in SOURCES), "openapi.md"])


def test_make_and_ci_build_it() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-m mkdocs build --strict --quiet" in makefile
    assert "\nmake site\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.needs("site")
def test_a_reader_asks_no_other_host_for_anything(site: Path) -> None:
    pages, styles = sorted(site.rglob("*.html")), sorted(site.rglob("*.css"))
    assert len(pages) > len(SOURCES)
    assert styles
    asked = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        read = Reader(text)
        addresses = [part.strip() for address in read.addresses for part in address.split(",")] + styled_from(read.styles)
        assert not [address for address in addresses if ELSEWHERE.match(address)], page
        asked += len(addresses)
        # For these, the theme's script asks other hosts: for a program that draws, and for the stars of a repository.
        assert not re.search(r'class="[^"]*\bmermaid\b|data-md-component="source"', text), page
    assert asked > 5 * len(pages)
    for style in styles:
        assert not list(filter(ELSEWHERE.match, styled_from(style.read_text(encoding="utf-8")))), style
    for picture in site.rglob("*.svg"):
        assert not re.search(r"""(?:href|src)=["'](?:https?:)?//""", picture.read_text(encoding="utf-8")), picture


@pytest.mark.needs("site")
def test_the_search_and_the_icons_come_along(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"faq.html", "openapi.html", "results/index.html", "client-reference.html"} <= found
    assert "fonts.g" not in page_of(DOCS / "index.md", site)


@pytest.mark.needs("site")
@pytest.mark.parametrize(
    "source", [source for source in SOURCES if source != REFERENCE], ids=lambda source: str(source.relative_to(DOCS))
)
def test_a_page_shows_what_a_code_host_shows(site: Path, source: Path) -> None:
    """The same text, and as many items, tables and pictures: the site's Markdown is another one."""
    written = without_links_out(source.read_text(encoding="utf-8"), str(source.relative_to(DOCS)), None)
    host = Reader(MarkdownIt().enable("table").render(written))
    (article,) = re.findall(r"<article[^>]*>(.*?)</article>", page_of(source, site), re.DOTALL)
    built = Reader(article)
    assert built.shown == host.shown
    assert {tag: built.tags[tag] for tag in TAGS} == {tag: host.tags[tag] for tag in TAGS}


def test_docs_are_readable_on_a_code_host() -> None:
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        assert not re.search(r'^ *(!!!|\?\?\?\+?|===) ["\w]|\{\s*[.#:]\w+[^}\n]*\}\s*$|^\s*--8<--', text, re.MULTILINE), source
        assert (source == REFERENCE) == bool(re.search(r"^::: ", text, re.MULTILINE)), source


@pytest.mark.needs("site")
def test_the_reference_shows_the_clients_and_their_errors(site: Path) -> None:
    page = page_of(REFERENCE, site)
    for name in ("sync_client.NoteClient.embed", "async_client.AsyncNoteClient.similar_to", "problems.BadRequest"):
        assert f'id="notellm.client.{name}"' in page
    assert 'id="notellm.messages.EmbeddedNote"' in page


@pytest.mark.needs("site")
def test_results_are_there_with_their_plots(site: Path) -> None:
    plots = {picture.relative_to(DOCS) for picture in DOCS.rglob("*.png")}
    assert len(plots) > 10
    assert plots == {
        picture.relative_to(site) for folder in ("results", "images") for picture in (site / folder).rglob("*.png")
    }
