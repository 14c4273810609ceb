"""`tests/` mirrors the packages, so that the tests of a module are easy to find under its name."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("notellm", "service", "training", "demo")
# Modules that the tests of other modules cover. Do not add a new module here: give it its own test file.
LISTED = ROOT / "tests" / "modules_without_a_test_file.txt"


def has_a_test_file(module: Path) -> bool:
    """Whether the module `a/b/c.py` has a file `tests/a/b/test_c.py` or a folder `tests/a/b/c/` of test files."""
    beside = ROOT / "tests" / module.parent
    return (beside / f"test_{module.name}.py").exists() or any((beside / module.name).glob("test_*.py"))


def test_each_module_has_a_test_file_of_its_name() -> None:
    modules = {
        path.relative_to(ROOT).with_suffix("")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    without = {str(module) for module in modules if not has_a_test_file(module)}
    listed = set(LISTED.read_text(encoding="utf-8").split())
    assert not without - listed, "write a test file of the module's name for these"
    assert not listed - without, f"these have a test file, or are gone: take them off {LISTED.name}"
