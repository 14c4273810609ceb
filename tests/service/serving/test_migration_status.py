"""What the state of a migration is told in: by the API and by `notellm-serve migrate`."""

from dataclasses import fields
from typing import get_args

import pytest

from service.bulk.migrate import _say
from service.http.routes.migration import MigrationInfo, StartRequest
from service.serving.migration_status import DEFAULT_SHARE, MigrationStatus, Phase

PHASES = get_args(Phase)
VECTORS = {"vector": "m-1", "dimensions": 4, "checkpoint": "/checkpoints/m-1"}


def test_the_api_tells_all_of_it() -> None:
    told = set(MigrationInfo.model_fields) - {"source", "target"} | {"move"}
    assert told == {field.name for field in fields(MigrationStatus)}


def test_the_api_describes_each_phase() -> None:
    description = MigrationInfo.model_fields["phase"].description or ""
    assert [phase for phase in PHASES if f"`{phase}`" not in description] == []


@pytest.mark.parametrize("phase", PHASES)
def test_the_command_has_words_for_each_phase(phase: Phase, capsys: pytest.CaptureFixture[str]) -> None:
    state = {"phase": phase, "source": VECTORS, "target": VECTORS | {"vector": "m-2"}, "notes": 3, "lacking": 1}
    _say(state)
    assert capsys.readouterr().out.strip()


def test_a_migration_takes_the_same_share_by_default_wherever_it_is_begun() -> None:
    assert StartRequest.model_validate({"checkpoint": "/checkpoints/m-2"}).share == DEFAULT_SHARE
