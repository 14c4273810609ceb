"""The tree of errors that the module's docstring draws is the one that there is."""

import re

import pytest

from service import errors
from service.errors import MOST_DETAIL_CHARS, MOST_MESSAGE_CHARS, FieldError, InvalidRequest, ServiceError, shortened


def test_every_error_is_in_the_tree_under_its_base() -> None:
    bases: dict[str, str] = {}
    path = ["ServiceError"]
    for indent, name in re.findall(r"^([ │]*)[├└]── (\w+)$", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4 + 1
        path[depth:] = [name]
        bases[name] = path[depth - 1]
    found = {
        name: kind.__bases__[0].__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, ServiceError) and kind is not ServiceError
    }
    assert bases == found


@pytest.mark.parametrize("length", [0, 1, 99, 100])
def test_short_texts_stay(length: int) -> None:
    assert shortened("x" * length, 100) == "x" * length


def test_the_start_and_the_end_of_long_texts_stay() -> None:
    found = shortened("sent: " + "x" * 1000 + ": do this", 100)
    assert len(found) <= 100
    assert found.startswith("sent: xx")
    assert found.endswith("xx: do this")


def test_an_error_that_quotes_what_was_sent_is_small() -> None:
    sent = "\N{CJK UNIFIED IDEOGRAPH-538B}" * 4000
    error = InvalidRequest.listing([FieldError(field=f"notes[{n}]", rule="r", message=f"{sent}: do this") for n in range(3)])
    assert all(len(one.message) <= MOST_MESSAGE_CHARS for one in error.errors)
    assert len(error.detail) <= MOST_DETAIL_CHARS
    assert error.detail.endswith(": do this")
    assert len(ServiceError(sent).detail) <= MOST_DETAIL_CHARS
