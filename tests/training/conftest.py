"""A small platform: notes on four topics, users who stay within one, and the settings of a run on them."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.config import TrainingConfig

TOPICS = {
    "coffee": ("cold brew", "espresso", "grinder", "beans"),
    "beer": ("hops", "malt", "yeast", "lager"),
    "quantum": ("qubit", "gate", "noise", "spin"),
    "travel": ("train", "island", "hotel", "map"),
}
NOTES_A_TOPIC, USERS = 20, 160


def write_platform(folder: Path) -> None:
    """notes.jsonl and events.csv, the same every time."""
    draw = random.Random(0)
    notes = []
    for topic, words in TOPICS.items():
        for number in range(NOTES_A_TOPIC):
            picked = draw.sample(words, 2)
            text = f"{picked[0]} and {picked[1]} number {number}"
            notes.append({"id": f"{topic}-{number}", "title": text, "hashtags": [topic, *picked], "category": topic})
    (folder / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes), encoding="utf-8")
    with (folder / "events.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("user", "note", "position"))
        for user in range(USERS):
            topic = list(TOPICS)[user % len(TOPICS)]
            seen = draw.sample([note["id"] for note in notes if note["category"] == topic], 8)
            writer.writerows((f"u{user}", note, position) for position, note in enumerate(seen))


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    folder = tmp_path_factory.mktemp("platform")
    write_platform(folder)
    return folder


@pytest.fixture(scope="session")
def run_settings(platform: Path, tiny_base: Path) -> Callable[..., dict[str, Any]]:
    """Settings of a short run, as a YAML file holds them; `a__b=value` changes one."""

    def settings(**changes: Any) -> dict[str, Any]:
        content: dict[str, Any] = {
            "name": "small",
            "data": {
                "notes": str(platform / "notes.jsonl"),
                "events": str(platform / "events.csv"),
                "split": {"validation": 0.2, "test": 0.2},
            },
            "model": {"base": str(tiny_base), "dimensions": 16},
            "examples": {"pairs_per_batch": 8, "max_pairs": 64},
            "optimizer": {"learning_rate": 1e-3},
            "compute": {"threads": 1},
            "validation": {"every_steps": 2, "notes": 20},
            "run": {"log_every_steps": 1},
        }
        for name, value in changes.items():
            *parents, last = name.split("__")
            place = content
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        return content

    return settings


@pytest.fixture(scope="session")
def run_config(run_settings: Callable[..., dict[str, Any]]) -> Callable[..., TrainingConfig]:
    """The same as a `TrainingConfig`."""
    return lambda **changes: TrainingConfig.model_validate(run_settings(**changes))


@pytest.fixture
def config_file(tmp_path: Path, run_settings: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """The same as a file."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(run_settings(**changes)), encoding="utf-8")
        return path

    return write
