"""The tree of errors that the module's docstring draws is the one that there is."""

import re

from service import errors
from service.errors import ServiceError


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
