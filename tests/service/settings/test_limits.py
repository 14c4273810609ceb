"""What one request, and all of them, may take. `test_settings.py` tests the rules between settings."""

import pytest
from pydantic import ValidationError

from notellm.messages import MAX_NOTES
from service.settings.limits import MIB, LimitSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_body_bytes", 1023),
        ("max_notes_per_request", 257),
        ("max_batch_tokens", 63),
        ("hashtag_min_uses", 0),
        ("hashtag_min_confidence", 1.1),
        ("log_format", "xml"),
        ("request_timeout_seconds", 0),
        ("hashtag_recent_days", 0),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        LimitSettings.model_validate({name: value})
    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


def test_by_default_a_request_may_be_as_large_as_the_interface_allows() -> None:
    settings = LimitSettings()
    assert (settings.max_notes_per_request, settings.max_body_bytes, settings.max_hashtag_notes_per_request) == (
        MAX_NOTES,
        4 * MIB,
        32,
    )
