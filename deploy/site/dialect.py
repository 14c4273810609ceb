"""The Markdown that Python-Markdown reads, which differs from that of code hosts.

It wants an empty line before a list, after a block of code and after an item of several paragraphs, and four spaces before what belongs to
an item. In a table it shows the backslash of an escaped bar within code.
"""

import html
import re
from dataclasses import dataclass, field

from markdown_it import MarkdownIt

_MARKER = re.compile(r" *(?:[-*+]|\d+[.)]) +")
_STEP = 4
_ESCAPED_BAR = "\\|"
_CODE_WITH_BAR = re.compile(r"`([^`\n]*\\\|[^`\n]*)`")


@dataclass(frozen=True)
class _Item:
    """One item of a list.

    Attributes:
        start: its first line.
        end: the line after its last one.
        column: where its text begins.
    """

    start: int
    end: int
    column: int


@dataclass
class _Places:
    """Where the parts of a page are.

    Attributes:
        items: the items of all lists, the outer ones first.
        apart: lines that need an empty line before them.
        rows: lines of tables.
    """

    items: list[_Item] = field(default_factory=list)
    apart: set[int] = field(default_factory=set)
    rows: set[int] = field(default_factory=set)


def for_python_markdown(markdown: str) -> str:
    """A page that Python-Markdown shows as code hosts show the given one."""
    lines = markdown.split("\n")
    places = _places(markdown, lines)
    written = []
    for number, line in enumerate(lines):
        if number > 0 and number in places.apart and line.strip() and lines[number - 1].strip():
            written.append("")
        written.append(_plain_bars(line) if number in places.rows else _indented(line, number, places.items))
    return "\n".join(written)


def _places(markdown: str, lines: list[str]) -> _Places:
    places, depth = _Places(), 0
    for token in MarkdownIt().enable("table").parse(markdown):
        start, end = token.map or (0, 0)
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                if depth == 0:
                    places.apart.add(start)
                depth += 1
            case "bullet_list_close" | "ordered_list_close":
                depth -= 1
            case "list_item_open":
                places.items.append(_Item(start, end, _column(lines[start])))
            case "fence":
                places.apart.add(end)
            case "table_open":
                places.rows |= set(range(start, end))
    places.apart |= {item.end for item in places.items if not all(line.strip() for line in lines[item.start : item.end])}
    return places


def _column(line: str) -> int:
    """Where the text of an item begins in its first line."""
    marker = _MARKER.match(line)
    return marker.end() if marker else 0


def _indented(line: str, number: int, items: list[_Item]) -> str:
    """A line with four spaces for each item to whose text it belongs."""
    around = [item for item in items if item.start < number < item.end]
    if any(item.start == number for item in items):
        return " " * (_STEP * len(around)) + line.lstrip()
    if not line.strip() or not around:
        return line
    deeper = len(line) - len(line.lstrip()) - around[-1].column
    return " " * (_STEP * len(around) + max(0, deeper)) + line.lstrip()


def _plain_bars(row: str) -> str:
    """A row of a table whose code has entities in place of escaped bars."""
    return _CODE_WITH_BAR.sub(lambda code: f"<code>{html.escape(code[1]).replace(_ESCAPED_BAR, '&#124;')}</code>", row)
