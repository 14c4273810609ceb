"""Each problem of the service has an exception of the client."""

import inspect
from http import HTTPStatus
from typing import Any

import service.errors as service_errors
from notellm.client import problems
from notellm.client.problems import Busy, InvalidRequest, ServiceProblem
from notellm.client.refusals import read_refusal
from service.errors import RetryLater, ServiceError

# Those that the service raises as plain HTTP errors.
PLAIN = {"not-found", "method-not-allowed"}


def classes(base: type, module: object) -> list[Any]:
    return [one for _, one in inspect.getmembers(module, inspect.isclass) if issubclass(one, base)]


def test_every_problem_of_the_service_has_a_class_of_its_name() -> None:
    kinds = {one.kind: one for one in classes(ServiceError, service_errors) if getattr(one, "kind", None)}
    own = {one.kind: one for one in classes(ServiceProblem, problems) if one.kind}
    assert own.keys() == kinds.keys() | PLAIN
    for kind, one in kinds.items():
        assert own[kind].__name__ == one.__name__
        read = read_refusal(one.status, {"type": f"urn:notellm:problem:{kind}", "detail": "d"})
        assert type(read) is own[kind]
        assert isinstance(read, Busy) == (issubclass(one, RetryLater) or kind == "shutting-down")


def test_it_names_the_notes_by_their_places_in_the_callers_list() -> None:
    errors = [
        {"field": "notes[1].title", "rule": "x", "message": "is too long"},
        {"field": "notes[1].content", "rule": "x", "message": "is too long, too"},
        {"field": "notes[0]", "rule": "x", "message": "is no note"},
        {"field": "query.limit", "rule": "x", "message": "is wrong"},
    ]
    read = read_refusal(HTTPStatus.UNPROCESSABLE_ENTITY, {"type": "urn:notellm:problem:invalid-request", "errors": errors})
    assert isinstance(read, InvalidRequest)
    assert read.reasons == {1: "title: is too long", 0: "is no note"}
    read.place([70, 71])
    assert [error.field for error in read.errors] == ["notes[71].title", "notes[71].content", "notes[70]", "query.limit"]
    assert not read.too_many


def test_too_many_notes_are_told_from_wrong_ones() -> None:
    def read(*fields: str) -> ServiceProblem:
        return read_refusal(422, {"errors": [{"field": field, "rule": "x", "message": "m"} for field in fields]})

    assert read("notes").too_many
    assert read("notes", "body").too_many
    assert not read("notes", "notes[0].id").too_many
    assert not read().too_many
