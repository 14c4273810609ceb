"""When `notellm-serve migrate` asks for the switch. A stand-in for the service gives the answers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.bulk import migrate as command
from service.bulk.client import ServiceClient
from service.errors import CommandError
from tests.service.bulk.files import Json

FILLED: Json = {"phase": "filled", "notes": 3, "lacking": 0, "failed": 0, "source": {}, "target": {}}


class Service(ServiceClient):
    """A migration in which every note has its vector, and two models with a given mean overlap."""

    def __init__(self, mean: float | None, notes: int) -> None:
        self.mean = mean
        self.state = FILLED | {"notes": notes}
        self.asked: list[str] = []

    async def get(self, path: str, **_: str | int) -> Json:
        compared = 0 if self.mean is None else 50
        return {"k": 10, "notes": compared, "mean": self.mean} if path.endswith("/overlap") else self.state

    async def post(self, path: str, _: Json) -> Json:
        self.asked.append(path)
        return self.state | ({"phase": "switched"} if path.endswith("/switch") else {})


def move(monkeypatch: pytest.MonkeyPatch, service: Service, **options: object) -> None:
    @asynccontextmanager
    async def connect(*_: object, **__: object) -> AsyncIterator[Service]:
        yield service

    given: Mapping[str, object] = {"to": Path("next"), "switch": True, "min_overlap": 0.0, "share": 1.0, **options}
    monkeypatch.setattr(command, "connect_running", connect)
    command.migrate(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mean", "notes", "least"), [(0.5, 3, 0.5), (0.2, 3, 0.0), (None, 3, 0.0), (None, 0, 0.5)],
    ids=["near enough", "not asked for", "nothing compared, not asked for", "no notes"],
)  # fmt: skip
def test_it_switches(mean: float | None, notes: int, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(mean, notes)
    move(monkeypatch, service, min_overlap=least)
    assert service.asked[-1] == "/admin/migration/switch"


@pytest.mark.parametrize(
    ("mean", "says"), [(0.2, r"less than --min-overlap 0\.5"), (None, "no note has vectors of both models")]
)
def test_it_does_not_switch(mean: float | None, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(mean, 3)
    with pytest.raises(CommandError, match=f"not switched: {says}"):
        move(monkeypatch, service, min_overlap=0.5)
    assert service.asked == ["/admin/migration"]
