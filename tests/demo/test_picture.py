"""The picture of the README: drawn from answers, and of the same note and answers that the README shows as text."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from demo.picture import NOTE, Answers, draw
from demo.run import USE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURE = (ROOT / "docs" / "images" / "answers.svg").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.fixture
def answers() -> Answers:
    neighbours = [{"score": 0.5, "title": "Beer & <coffee>"}, {"score": 0.25, "title": "long " * 30}]
    suggestion = {
        "hashtags": [{"hashtag": "grind", "confidence": 0.61}, {"hashtag": "brewing", "confidence": 0.2}],
        "category": {"category": "coffee", "confidence": 0.9},
    }
    return Answers([0.6, -0.8, 0.0], neighbours, suggestion)


def test_every_answer_is_drawn(answers: Answers) -> None:
    drawn = texts(draw(answers))
    assert {
        "an embedding of 3 numbers",
        "0.500",
        "0.250",
        "Beer & <coffee>",
        "#grind",
        "0.61",
        "#brewing",
        "coffee",
        "0.90",
    } <= {*drawn}
    assert " ".join(drawn).count("long") < 15, "a long title is shortened"


def test_a_bar_is_as_high_as_its_number(answers: Answers) -> None:
    bars = [float(bar.get("height", "")) for bar in ET.fromstring(draw(answers)).iter(f"{SVG}rect") if not bar.get("rx")]
    assert bars == pytest.approx([0.6 / 0.8 * bars[1], bars[1], 0], abs=0.1)
    assert bars[1] > 10


def test_the_readme_the_demo_and_the_picture_show_the_same_note() -> None:
    for text in NOTE.values():
        assert README.count(text) == 2
        assert USE.count(text) == 2
        assert text in " ".join(texts(PICTURE))


def test_the_readme_and_the_picture_show_the_same_answers() -> None:
    drawn = texts(PICTURE)
    neighbours = re.findall(r"^(0\.\d{3})  \S+ +(.+)$", README, re.MULTILINE)
    assert len(neighbours) == 3
    begun = [text.removesuffix("…") for text in drawn if text.endswith("…")]  # long titles are shortened
    assert all(part in drawn or any(map(part.startswith, begun)) for neighbour in neighbours for part in neighbour)
    hashtags = re.findall(r'"hashtag":"([^"]+)","confidence":([\d.]+)', README)
    assert len(hashtags) == 3
    for hashtag, confidence in hashtags:
        assert drawn[drawn.index(f"#{hashtag}") + 1] == f"{float(confidence):.2f}"
