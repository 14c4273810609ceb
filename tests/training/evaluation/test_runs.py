from pathlib import Path

import pytest

from training.errors import EvaluationError
from training.evaluation.runs import ModelRuns


def test_runs_of_one_name_belong_together() -> None:
    assert ModelRuns.read(["a=one", "b=x=y", "a=two,three"]) == [
        ModelRuns("a", (Path("one"), Path("two"), Path("three"))),
        ModelRuns("b", (Path("x=y"),)),
    ]
    assert ModelRuns.read([]) == []


@pytest.mark.parametrize("option", ["notellm", "notellm=", "notellm=a,,b"])
def test_other_forms_are_refused(option: str) -> None:
    with pytest.raises(EvaluationError, match="write NAME=DIRECTORY, or NAME=DIRECTORY,DIRECTORY for several seeds"):
        ModelRuns.read([option])
