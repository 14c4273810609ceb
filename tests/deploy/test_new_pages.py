"""What the pages that came with the site claim: their figures, commands, examples and settings."""

import inspect
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from pydantic import BaseModel

import service.cli
import training.cli
from harness.service import running_service
from notellm.prompt import TEMPLATES
from service.settings import Settings
from tests.commands import ROOT
from tests.platform import TOPICS
from training.config import TrainingConfig

DOCS = ROOT / "docs"
NEW = {
    name: (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for name in ("index", "start", "train", "serve", "how-it-works", "faq")
}
BLOCKS = {name: re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE) for name, text in NEW.items()}
# Of the platform on which the commands of train.md run, which must fill a batch of 64 pairs.
NOTES = 600


def texts_of(figure: str) -> list[str]:
    return [text.text or "" for text in ET.parse(DOCS / "images" / figure).iter("{http://www.w3.org/2000/svg}text")]


def test_the_figure_of_the_prompt_shows_the_prompt() -> None:
    shown, prompt = " ".join(texts_of("prompt.svg")), TEMPLATES["paper-en"]
    parts = [prompt.category_instruction + prompt.labels["title"], prompt.labels["topic"], prompt.labels["content"]]
    for part in [*parts, prompt.note_end, prompt.compression.strip(' "'), prompt.after_emb + prompt.category_guidance]:
        assert part in shown, part


def test_the_figure_of_the_floors_shows_the_rules() -> None:
    """Those that `make lint` checks."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (floors,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["service"]]
    rooms = [room.strip() for floor in floors for room in floor.split("|")]
    shown = [
        re.sub(r"(\.py|/)$", "", word)
        for text in texts_of("floors.svg")
        for word in text.split()
        if re.search(r"(\.py|/)$", word)
    ]
    assert sorted(shown) == sorted(rooms)
    height = {floor: number for number, floor in enumerate(floors)}
    above = [number for room in shown for floor, number in height.items() if room in [one.strip() for one in floor.split("|")]]
    # The two lowest floors are drawn as one, the ground.
    assert [min(number, len(floors) - 2) for number in above] == sorted(min(number, len(floors) - 2) for number in above)


def test_every_command_of_the_new_pages_is_known() -> None:
    """start.md and serve.md repeat commands of pages whose commands are run; those of train.md are run below."""
    assert {name for name, blocks in BLOCKS.items() if blocks} == {"start", "train", "serve"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    elsewhere = readme + (DOCS / "operations.md").read_text(encoding="utf-8")
    for block in BLOCKS["start"]:
        assert block in readme, block
    for block in BLOCKS["serve"]:
        assert block
        for line in block.splitlines():
            assert re.search(rf"^{re.escape(line)}( +#.*)?$", elsewhere, re.MULTILINE), line


def test_what_the_start_shows_is_what_the_readme_shows() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for answer in re.findall(r"^```(?:json|text)\n(.*?)^```", NEW["start"], re.DOTALL | re.MULTILINE):
        assert answer in readme, answer


@pytest.mark.integration
@pytest.mark.needs("curl")
def test_the_calls_of_the_start_are_answered(tiny_path: Path, tmp_path: Path) -> None:
    calls = [block.removeprefix("$ ") for block in BLOCKS["start"] if block.startswith("$ curl")]
    assert len(calls) == 3
    with running_service(tiny_path, tmp_path / "data") as running:
        answers = []
        for call in calls:
            typed = call.replace("http://127.0.0.1:8000", running.url)
            done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, timeout=120, check=True)
            answers.append(json.loads(done.stdout))
    stored, similar, suggested = answers
    assert stored["notes"][0]["status"] == "stored"
    assert similar["neighbours"] == []
    assert suggested["notes"][0]["category"]


def larger_platform(folder: Path) -> None:
    """Tables with the columns of the example, of a platform that has enough notes to learn from."""
    notes, events = re.findall(r"^```csv\n(.*?)^```", NEW["train"], re.DOTALL | re.MULTILINE)
    assert notes.startswith("id,title,content,hashtags,category,created_at\n")
    assert events.startswith("user,note,time\n")
    rows, log = notes.splitlines()[:1], events.splitlines()[:1]
    draw = random.Random(0)
    for number in range(NOTES):
        topic = list(TOPICS)[number % len(TOPICS)]
        first, second = draw.sample(TOPICS[topic], 2)
        written = f"{first} and {second} {number},More about {second}.,{topic}|{first}"
        rows.append(f"n-{number},{written},{topic},2026-01-{1 + number % 28:02}T08:00:00Z")
    for user in range(NOTES):
        seen = draw.sample(range(user % len(TOPICS), NOTES, len(TOPICS)), 8)
        log += [f"u-{user},n-{note},2026-02-{1 + visit:02}T10:00:00Z" for visit, note in enumerate(seen)]
    (folder / "notes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "events.csv").write_text("\n".join(log) + "\n", encoding="utf-8")


def typed(command: str, folder: Path) -> str:
    beside = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{beside}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_the_example_files_are_valid(tmp_path: Path) -> None:
    for name, text in zip(
        ("notes", "events"), re.findall(r"^```csv\n(.*?)^```", NEW["train"], re.DOTALL | re.MULTILINE), strict=True
    ):
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    (command,) = [line for block in BLOCKS["train"] for line in block.splitlines() if " validate " in line]
    assert re.search(r"events +2\nusers +1\nnotes with events +2\n", typed(command, tmp_path))


@pytest.mark.integration
@pytest.mark.slow("two commands that train")
def test_the_five_steps_lead_to_a_model_that_answers(tiny_base: Path, tmp_path: Path) -> None:
    """With a tiny base, and as many frozen layers as it has."""
    (settings,) = re.findall(r"^```yaml\n(.*?)^```", NEW["train"], re.DOTALL | re.MULTILINE)
    small, replaced = re.subn(r"base: \S+", f"base: {tiny_base}\n  dimensions: 16", settings)
    small, frozen = re.subn(r"frozen_layers: \d+", "frozen_layers: 1", small)
    small, shortened = re.subn(r"max_batches: \d+", "max_batches: 4", small)
    assert (replaced, frozen, shortened) == (1, 1, 1)
    (tmp_path / "mine.yaml").write_text(small, encoding="utf-8")
    larger_platform(tmp_path)
    check, train, serve, ingest = BLOCKS["train"]
    typed(check, tmp_path)
    typed(train, tmp_path)
    assert serve == "NOTELLM_CHECKPOINT=runs/mine/checkpoint notellm-serve\n"
    with running_service(tmp_path / "runs" / "mine" / "checkpoint", tmp_path / "data") as running:
        port = running.url.rpartition(":")[2]
        assert f"{NOTES} stored" in typed(f"NOTELLM_PORT={port} {ingest}", tmp_path)


def test_the_shown_settings_are_those_of_the_recipe() -> None:
    """train.md shortens the file of MicroLens."""
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", NEW["train"], re.DOTALL | re.MULTILINE)
    whole = yaml.safe_load((ROOT / "training" / "configs" / "smollm2-135m-microlens.yaml").read_text(encoding="utf-8"))
    for part, values in yaml.safe_load(shown).items():
        if part not in {"name", "data"}:
            assert values.items() <= whole[part].items(), part


def commands_of(app: Any) -> set[str]:
    return {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}


def has(model: type[BaseModel], path: list[str]) -> bool:
    """Whether the settings of a run have this one."""
    if not path:
        return True
    annotation = str(model.model_fields[path[0]].annotation) if path[0] in model.model_fields else None
    inner = model.model_fields[path[0]].annotation if annotation else None
    return annotation is not None and (
        len(path) == 1 or (inspect.isclass(inner) and issubclass(inner, BaseModel) and has(inner, path[1:]))
    )


@pytest.mark.parametrize("name", NEW)
def test_settings_and_commands_that_a_page_names_exist(name: str) -> None:
    text = NEW[name]
    variables = {f"NOTELLM_{field.upper()}" for field in Settings.model_fields}
    assert set(re.findall(r"NOTELLM_[A-Z_]+", text)) <= variables
    assert set(re.findall(r"notellm-train ([a-z-]+)", text)) <= commands_of(training.cli.app)
    assert set(re.findall(r"notellm-serve ([a-z]+)", text)) <= commands_of(service.cli.app)
    for path in re.findall(r"`((?:data|model|loss|validation|examples|optimizer|compute|run)\.[a-z_.]+)`", text):
        assert has(TrainingConfig, path.split(".")), path
    for target in re.findall(r"`((?:docs|tests|training|service|notellm|deploy)/[\w./-]+)`", text):
        assert (ROOT / target).exists(), target
    if shutil.which("make"):
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
