"""The `__init__.py` of each package exports its public names, and other packages import them from there."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Without `service.bulk`, `training.commands` and `training.evaluation`: only the command line uses them, module by module.
ROOMS = [
    "notellm", "notellm.forward",
    *(f"service.{room}" for room in (
        "http", "serving", "notes", "queueing", "engines", "index", "security", "settings", "observability",
    )),
    *(f"training.{room}" for room in ("data", "batches", "model", "loop")),
]  # fmt: skip


def parse(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yields module and name of each `from module import name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, name.name) for name in node.names)


def init(package: str) -> Path:
    return ROOT / package.replace(".", "/") / "__init__.py"


def sources() -> Iterator[tuple[str, Path]]:
    for top in ("service", "training", "notellm"):
        for path in (ROOT / top).rglob("*.py"):
            module = str(path.relative_to(ROOT)).removesuffix(".py").removesuffix("/__init__")
            yield module.replace("/", "."), path


@pytest.mark.parametrize("package", ROOMS)
def test_public_names_are_there_and_are_what_type_checkers_see(package: str) -> None:
    module = import_module(package)
    shown = {name for origin, name in imports(parse(init(package))) if name not in {"TYPE_CHECKING", "lazy_exports"}}
    assert set(module.__all__) == shown
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018 - the access itself raises


def test_other_packages_take_public_names_from_the_package() -> None:
    public = {
        (origin, name): package
        for package in ROOMS
        if package != "notellm"
        for origin, name in imports(parse(init(package)))
        if origin.startswith(f"{package}.")
    }
    assert len(public) > 50
    past = [
        f"{module}: {origin}.{name}"
        for module, path in sources()
        for origin, name in imports(parse(path))
        if (package := public.get((origin, name))) and module != package and not module.startswith(f"{package}.")
    ]
    assert not past, "import these from the package"
