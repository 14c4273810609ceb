"""Draws the README's picture: one note, and what the running demo answers to the three calls.

    make demo                                                       # in another terminal
    .venv/bin/python -m demo.picture docs/images/answers.svg

Nothing in the picture is written by hand: the embedding, the neighbours and the hashtags are the service's answers.
"""

import argparse
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import httpx

from demo.check import QUESTIONS
from notellm.client import NoteClient

NOTE = next(question.text for question in QUESTIONS if question.id == "check-coffee")
COUNT = 3
_ID = "picture"
_WIDTH, _HEIGHT = 920, 452
_RIGHT = 336
_INK, _GREY, _BLUE, _ORANGE, _LINE = "#1f2328", "#656d76", "#0969da", "#bc4c00", "#d0d7de"


@dataclass(frozen=True)
class Answers:
    """What the service said about `NOTE`.

    Attributes:
        vector: the embedding, of length 1.
        neighbours: the nearest stored notes, as `GET /notes/{id}/similar` gives them.
        suggestion: hashtags and category, as `POST /notes/hashtags` gives them.
    """

    vector: list[float]
    neighbours: list[dict[str, Any]]
    suggestion: dict[str, Any]


def ask(client: NoteClient) -> Answers:
    """Stores the note, asks, and deletes the note again.

    Raises:
        ClientError: the service does not answer, or answers with an error.
    """
    (stored,) = client.embed([{"id": _ID, **NOTE}])
    near = client.similar(_ID, limit=COUNT).neighbours
    (suggested,) = client.suggest([NOTE], count=COUNT)
    client.delete(_ID)
    assert isinstance(stored.vector, list)
    return Answers(stored.vector, [note.model_dump() for note in near], suggested.model_dump())


def draw(answers: Answers) -> str:
    """The picture as SVG."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="14">'
    )
    parts = [
        head,
        "<title>One note, and the answers of the three calls</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="12" fill="#ffffff"/>',
        *_note(),
        *_card(24, 96, "POST /notes/embed", f"an embedding of {len(answers.vector)} numbers"),
        *_embedding(answers.vector),
        *_card(144, 136, "GET /notes/{id}/similar", "the nearest stored notes"),
        *_neighbours(answers.neighbours),
        *_card(304, 124, "POST /notes/hashtags", "hashtags and a category, with confidences"),
        *_suggestion(answers.suggestion),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: int, y: int, text: str, color: str = _INK, **attributes: object) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x}" y="{y}" fill="{color}"{more}>{escape(text, quote=False)}</text>'


def _frame(x: int, y: int, width: int, height: int) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="#f6f8fa" stroke="{_LINE}"/>'


def _note() -> list[str]:
    """The note, and an arrow to each answer."""
    title, content = textwrap.wrap(NOTE["title"], 24), textwrap.wrap(NOTE["content"], 28)
    lines = [_text(44, 170 + 22 * number, line, font_weight="bold") for number, line in enumerate(title)]
    start = 180 + 22 * len(title)
    lines += [_text(44, start + 20 * number, line, _GREY) for number, line in enumerate(content)]
    arrows = [
        f'<path d="M272 226 C304 226 296 {y} {_RIGHT - 12} {y}" fill="none" stroke="{_GREY}" stroke-width="1.5"/>'
        f'<path d="M{_RIGHT - 12} {y - 4} l8 4 l-8 4 z" fill="{_GREY}"/>'
        for y in (72, 212, 366)
    ]
    return [_frame(24, 116, 248, 220), _text(44, 142, "a note", _GREY, font_size=12), *lines, *arrows]


def _card(y: int, height: int, call: str, answer: str) -> list[str]:
    """The frame of an answer, with the call and what it gives."""
    name = _text(_RIGHT + 16, y + 24, call, _BLUE, font_family="ui-monospace, Menlo, Consolas, monospace", font_size=13)
    given = _text(_WIDTH - 40, y + 24, answer, _GREY, text_anchor="end")
    return [_frame(_RIGHT, y, _WIDTH - _RIGHT - 24, height), name, given]


def _embedding(vector: list[float]) -> list[str]:
    """A bar for each number: up and blue where it is positive, down and orange where it is negative."""
    step, middle, most = (_WIDTH - _RIGHT - 56) / len(vector), 86, max(map(abs, vector))
    bars = []
    for place, value in enumerate(vector):
        height = 26 * abs(value) / most
        top, color = (middle - height, _BLUE) if value > 0 else (middle, _ORANGE)
        bars.append(
            f'<rect x="{_RIGHT + 16 + place * step:.1f}" y="{top:.1f}" width="{step - 1:.1f}" height="{height:.1f}" fill="{color}"/>'
        )
    return bars


def _neighbours(neighbours: list[dict[str, Any]]) -> list[str]:
    parts = []
    for number, note in enumerate(neighbours):
        y = 200 + 28 * number
        parts.append(_text(_RIGHT + 16, y, f"{note['score']:.3f}", _ORANGE, font_weight="bold"))
        parts.append(_text(_RIGHT + 70, y, textwrap.shorten(note["title"], 66, placeholder="…")))
    return parts


def _suggestion(suggestion: dict[str, Any]) -> list[str]:
    category = suggestion["category"]
    parts: list[str] = []
    x = _RIGHT + 16
    for tag in suggestion["hashtags"]:
        text = f"#{tag['hashtag']}"
        parts += _chip(x, 346, text, tag["confidence"], _BLUE)
        x += _chip_width(text) + 12
    return parts + _chip(_RIGHT + 16, 388, category["category"], category["confidence"], _ORANGE)


def _chip_width(text: str) -> int:
    return 8 * len(text) + 72


def _chip(x: int, y: int, text: str, confidence: float, color: str) -> list[str]:
    frame = f'<rect x="{x}" y="{y}" width="{_chip_width(text)}" height="30" rx="15" fill="#ffffff" stroke="{color}"/>'
    value = _text(x + _chip_width(text) - 14, y + 20, f"{confidence:.2f}", _GREY, text_anchor="end")
    return [frame, _text(x + 14, y + 20, text, color), value]


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the running demo")
    options = parser.parse_args()
    with httpx.Client(trust_env=False) as http:
        options.output.write_text(draw(ask(NoteClient(options.url, http=http, timeout=300))), encoding="utf-8")


if __name__ == "__main__":
    main()
