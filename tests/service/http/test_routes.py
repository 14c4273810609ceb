from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.http.routes import admin, docs, migration, notes, openai, operations


def calls(dependant: Dependant) -> Iterator[Callable[..., object]]:
    if dependant.call:
        yield dependant.call
    for dependency in dependant.dependencies:
        yield from calls(dependency)


def test_no_request_waits_for_a_thread_before_it_is_read() -> None:
    modules = (notes, openai, operations, docs, admin, migration)
    routes = [route for module in modules for route in module.router.routes if isinstance(route, APIRoute)]
    assert len(routes) >= 24
    plain = {call.__qualname__ for route in routes for call in calls(route.dependant) if not iscoroutinefunction(call)}
    assert not plain
