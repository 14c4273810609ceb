"""Error documents stay small, whatever a client sent."""

import pytest

from service.errors import InvalidRequest
from service.problem_documents import MOST_MESSAGE_CHARS, FieldError, shortened


@pytest.mark.parametrize("length", [0, 1, 99, 100])
def test_short_texts_stay(length: int) -> None:
    assert shortened("x" * length, 100) == "x" * length


def test_of_long_texts_start_and_end_stay() -> None:
    found = shortened("sent: " + "x" * 1000 + ": do this", 100)
    assert len(found) <= 100
    assert found.startswith("sent: xx")
    assert found.endswith("xx: do this")


def test_a_document_that_quotes_what_was_sent_is_small() -> None:
    sent = "\N{CJK UNIFIED IDEOGRAPH-538B}" * 4000
    error = InvalidRequest.listing([FieldError(field=f"notes[{n}]", rule="r", message=f"{sent}: do this") for n in range(3)])
    document = error.problem("id")
    assert all(len(one["message"]) <= MOST_MESSAGE_CHARS for one in document["errors"])
    assert len(str(document).encode()) < 10_000
    assert document["detail"].endswith(": do this")
