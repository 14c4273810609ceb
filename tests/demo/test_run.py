"""The demo asks the service that it has started and filled, whatever stands in the shell, and a failed check is no traceback."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo import run
from demo.check import check
from notellm import Checkpoint
from notellm.client import NoteClient
from notellm.messages import ModelInfo


def test_settings_in_the_shell_are_not_those_of_the_demo(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With NOTELLM_QDRANT_URL it would fill the embedded index, and then ask an empty server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTELLM_QDRANT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NOTELLM_CHECKPOINT", "/nowhere")
    program = tmp_path / "bin" / "notellm-serve"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport os\nfor pair in os.environ.items(): print(*pair)\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    with pytest.raises(SystemExit, match="the service did not start"), run.serving(tiny, 1):
        pass
    (log,) = tmp_path.rglob("service.log")
    seen = dict(line.split(" ", 1) for line in log.read_text(encoding="utf-8").splitlines() if " " in line)
    assert {name: value for name, value in seen.items() if name.startswith("NOTELLM_")} == {
        "NOTELLM_CHECKPOINT": str(tiny.path), "NOTELLM_DATA_DIR": str(log.parent.relative_to(tmp_path)), "NOTELLM_PORT": "1",
        "NOTELLM_ENGINE": "local", "NOTELLM_PLAYGROUND": "true",
    }  # fmt: skip
    assert seen["PATH"] == os.environ["PATH"]


MODEL = ModelInfo(
    name="m", fingerprint="f", base_model="b", prompt={}, dimensions=1, categories=[], engine="local", index="edge", notes=0,
    notes_estimated=False, max_tokens=9,
).model_dump()  # fmt: skip


def test_a_check_that_fails_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content or "{}").get("notes", [])
        notes = [{"id": "x", "tokens": 1, "truncated": [], "vector": [1.0], "status": "stored"} for _ in asked]
        body: dict[str, Any] = {"model": "m", "neighbours": [], "dimensions": 1, "notes": notes}
        if request.url.path == "/model":
            body = MODEL
        return httpx.Response(500 if request.url.path == "/notes/hashtags" else 200, json=body)

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        assert check(NoteClient("http://demo", http=http)) == 1
    shown = capsys.readouterr().out
    assert "FAILED: check-ai: there are as many neighbours as requested" in shown
    assert "FAILED: check-ai: most neighbours are from ai" in shown
    assert "FAILED: every request is answered: the service answers 500" in shown
