"""Rules of the Dockerfile that hold for images which cannot be built everywhere, too."""

import re
from pathlib import PurePosixPath

import pytest

from tests.deploy.chart import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
BASES = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", TEXT, re.MULTILINE))
STAGES: dict[str, str] = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", TEXT, re.MULTILINE | re.DOTALL))
PARENTS = {name: parent for parent, name in re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, re.MULTILINE)}
# What the build gets of the repository, and which lines of .dockerignore say so.
COPIED = {
    source
    for words in re.findall(r"^COPY ((?!.*--from=).*)$", TEXT, re.MULTILINE)
    for source in [word for word in words.split() if not word.startswith("--")][:-1]
}
FOLDERS = sorted(source for source in COPIED if (ROOT / source).is_dir())
CONTEXT = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
TARGETS = ("service", "demo-checkpoint", "training", "service-gpu")


def matches(pattern: str, path: str) -> bool:
    """As Docker reads a line: `*` stays within a name, `**` crosses them, and what lies below a match is matched, too."""
    signs = {"**/": r"(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    expression = "".join(signs.get(part, re.escape(part)) for part in parts)
    place = PurePosixPath(path)
    return any(re.fullmatch(expression, str(one)) for one in [place, *place.parents[:-1]])


def in_context(path: str) -> bool:
    """Whether the builder gets a file: the last line that matches decides."""
    kept = [line.startswith("!") for line in CONTEXT if matches(line.removeprefix("!"), path)]
    return kept[-1] if kept else True


def ignored_by_git() -> list[str]:
    """A file for each line of .gitignore, and of those that count everywhere one in every folder of the context."""
    found = []
    for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split():
        file = line.strip("/").replace("*", "x") + ("/file" if line.endswith("/") else "")
        found.append(file)
        if "/" not in line.removesuffix("/"):
            found += [f"{folder}/{inner}{file}" for folder in FOLDERS for inner in ("", "inner/")]
    return found


def test_base_images_are_named_by_their_exact_release() -> None:
    outside = {parent for parent in PARENTS.values() if parent not in PARENTS}
    assert outside == {f"${{{name}}}" for name in BASES}
    for image in BASES.values():
        assert re.search(r":\d+\.\d+\.\d+-", image), image


def test_the_stages_for_gpus_are_last() -> None:
    """A builder that runs every stage up to its target must not need the base image of another one."""
    names = list(STAGES)
    assert names[-1] == "service-gpu"
    first = next(number for number, name in enumerate(names) if PARENTS[name] == "${CUDA_IMAGE}")
    assert not {"service", "training", "demo-checkpoint"} & set(names[first:])


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_as_a_user_of_which_kubernetes_sees_that_it_is_not_root(target: str) -> None:
    assert re.findall(r"^USER (.*)$", STAGES[target], re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("target", ["service", "service-gpu", "training"])
def test_a_target_ends_by_the_signal_that_drains(target: str) -> None:
    assert "\nSTOPSIGNAL SIGTERM\n" in STAGES[target]
    assert re.search(r'^ENTRYPOINT \["notellm-(serve|train)"\]$', STAGES[target], re.MULTILINE), "a shell would keep the signal"


def test_the_service_is_the_same_on_gpus() -> None:
    def settings(target: str) -> set[str]:
        return set(re.findall(r"^(?:ENV)? +(NOTELLM_\w+=\S+)", STAGES[target], re.MULTILINE))

    assert settings("service") == settings("service-gpu") != set()
    for target in ("service", "service-gpu"):
        assert re.search(r'HEALTHCHECK .* CMD \["python", "-I", "-m", "service.healthcheck"\]', STAGES[target])


def whole(stage: str) -> str:
    """A stage after those that it stands on."""
    parent = PARENTS[stage]
    return (whole(parent) if parent in PARENTS else "") + STAGES[stage]


def copied(text: str) -> list[str]:
    """What its instructions copy."""
    return re.findall(r"^(?:COPY|ADD) (.*)$", text, re.MULTILINE)


def test_an_edit_of_the_source_installs_no_dependencies_again() -> None:
    """Before them nothing is copied but what names them, and what was installed so: a builder keeps the layers."""
    named = copied(STAGES["dependencies"])
    assert named == ["pyproject.toml ./", "constraints constraints"]
    unedited = {*named, "--from=dependencies /opt/notellm /opt/notellm", "--from=dependencies /build /build"}
    stages = set()
    for stage in STAGES:
        text = whole(stage)
        for install in re.finditer(r"pip install (?!--no-deps --force-reinstall /wheels/)", text):
            stages.add(stage)
            assert set(copied(text[: install.start()])) <= unedited, stage
    assert {"dependencies", "training-environment", "demo-checkpoint", "gpu-dependencies"} <= stages


@pytest.mark.parametrize("stage", ["dependencies", "gpu-dependencies"])
def test_the_service_can_send_traces(stage: str) -> None:
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", STAGES[stage])
    assert {"service", "tracing"} <= set(extras.split(","))


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    assert {line[1:] for line in CONTEXT if line.startswith("!")} == COPIED
    for source in COPIED:
        files = [ROOT / source, *(ROOT / source).rglob("*")]
        paths = [str(file.relative_to(ROOT)) for file in files if file.is_file() and "__pycache__" not in file.parts]
        assert paths
        assert all(in_context(path) for path in paths), [path for path in paths if not in_context(path)]


@pytest.mark.parametrize(
    "path",
    [
        ".git/config", ".env", ".env.example", ".venv/bin/python", ".venv-load/bin/python", "secrets/keys.toml", "data/index/0",
        "checkpoints/demo/model.safetensors", "runs/mine/states/1", "docs/api.md", "tests/commands.py", "benchmarks/speed.py",
        "Dockerfile", "keys.toml", "service/.env", "demo/.git/config",
    ],
)  # fmt: skip
def test_what_is_large_or_secret_stays_outside(path: str) -> None:
    assert not in_context(path)


def test_what_git_ignores_stays_outside() -> None:
    files = ignored_by_git()
    assert {"secrets/file", ".env", "service/.env", "notellm/inner/build/file", "demo/__pycache__/file"} <= set(files)
    assert [file for file in files if in_context(file)] == []


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("*", "a", True), ("*", "a/b", True), ("a", "a/b/c", True), ("a", "b/a", False), ("**/a", "a", True), ("**/a", "b/c/a/d", True),
        ("**/.*", "a/.env", True), ("**/.*", "a/b.c", False), ("a/*.py", "a/b/c.py", False), ("a.b", "axb", False),
    ],
)  # fmt: skip
def test_patterns_are_read_as_docker_reads_them(pattern: str, path: str, matched: bool) -> None:
    assert matches(pattern, path) == matched
