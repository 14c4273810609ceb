import pytest
from pydantic import ValidationError

from training.loss_settings import LossSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contrastive": False, "alpha": 0}, "this leaves no loss to train with"),
        ({"contrastive": False, "memory": 100}, "the generative loss needs no memory"),
        ({"contrastive": False, "distillation": {}}, "no target that distillation could give a part of"),
        ({"distillation": {"share": 1.0}}, "less than 1"),
        ({"distillation": {"factor": 0}}, "greater than 0"),
        ({"memory": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LossSettings.model_validate(settings)
