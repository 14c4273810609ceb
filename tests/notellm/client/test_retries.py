import subprocess
import sys

import pytest

from notellm.client import calls
from notellm.client.problems import DeadlineMissed
from notellm.client.retries import Trying


def test_each_try_is_told_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    trying = Trying(calls.model(), 60, {}, "http://x", started=now)
    assert trying.request()["headers"] == {"X-Request-Timeout": "60.000"}
    now = 150.0
    assert trying.request()["headers"] == {"X-Request-Timeout": "10.000"}
    assert trying.request()["timeout"] == 15
    now = 160.0
    with pytest.raises(DeadlineMissed, match="GET /model within 60 seconds"):
        trying.request()
    assert Trying(calls.model(), 1e6, {}, "http://x", started=now).request()["headers"] == {"X-Request-Timeout": "3600.000"}


def test_neither_torch_nor_tokenizers_nor_the_service_is_imported() -> None:
    heavy = "{'torch', 'transformers', 'tokenizers', 'numpy', 'service', 'fastapi', 'typer'}"
    code = f"import sys; from notellm.client import NoteClient, AsyncNoteClient; assert not {heavy} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
