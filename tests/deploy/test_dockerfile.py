"""Rules of the Dockerfile that hold for images which cannot be built everywhere, too."""

import re

import pytest

from tests.deploy.chart import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
BASES = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", TEXT, re.MULTILINE))
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", TEXT, re.MULTILINE | re.DOTALL))
PARENTS = {name: parent for parent, name in re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, re.MULTILINE)}
TARGETS = ("service", "demo-checkpoint", "training", "service-gpu")


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
