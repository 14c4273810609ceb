import json
import sys

import pytest

from training.errors import MissingPackageError
from training.evaluation.packages import evaluation_package


def test_an_installed_package_is_imported() -> None:
    assert evaluation_package("json") is json


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingPackageError, match=r"bm25s is not installed: .* pip install 'notellm\[evaluate\]'"):
        evaluation_package("bm25s")
