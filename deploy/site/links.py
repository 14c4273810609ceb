"""Links of a page to files of the repository that are not under `docs/`, such as `../CHANGELOG.md`."""

import posixpath
import re
from collections.abc import Callable

_FENCE = re.compile(r"^ *```.*?^ *```[^\n]*$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def without_links_out(markdown: str, page: str, repository: str | None) -> str:
    """Turns links that lead out of `docs/` into links to the repository, or into plain text.

    Args:
        markdown: the page.
        page: its path under `docs/`.
        repository: the address of the repository on a code host; None or empty if it has none.
    """

    def replaced(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link["target"]))
        if path.startswith("docs/"):
            return link[0]
        if repository:
            return f"[{link['text']}]({repository.rstrip('/')}/blob/main/{path}{link['anchor'] or ''})"
        name = link["text"].strip("`")
        return f"`{path}`" if path.endswith(name) else f"{link['text']} (`{path}`)"

    return outside_code(markdown, lambda text: _LINK.sub(replaced, text))


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Changes a page, but not its blocks of code."""
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])
