import pytest
from pydantic import BaseModel, ValidationError

from notellm import messages
from notellm.messages import EXAMPLE_TEXT, SimilarRequest, SuggestedHashtag


def models() -> list[type[BaseModel]]:
    return [one for one in vars(messages).values() if isinstance(one, type) and issubclass(one, messages._Model)]


def test_requests_refuse_unknown_fields_and_answers_ignore_them() -> None:
    requests = {one for one in models() if issubclass(one, messages._Request)}
    answers = {*models()} - requests
    assert len(requests) > 4
    assert len(answers) > 9
    assert {one.model_config.get("extra") for one in requests} == {"forbid"}
    assert not {one for one in answers if one.model_config.get("extra")}
    assert {one for one in models() if not one.model_config.get("frozen")} == set()


def test_an_answer_of_a_newer_service_is_read() -> None:
    read = SuggestedHashtag.model_validate({"hashtag": "x", "confidence": 0.5, "sources": ["model"], "since": "2027"})
    assert read.model_dump() == {"hashtag": "x", "confidence": 0.5, "sources": ["model"]}


@pytest.mark.parametrize("given", [{}, {"note": EXAMPLE_TEXT, "ids": ["a"]}])
def test_neighbours_are_asked_for_a_note_or_for_ids(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="give either note or ids"):
        SimilarRequest.model_validate(given)
