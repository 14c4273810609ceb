"""Tests of vLLM's worker extension that need no vLLM; tests/integration/test_engines.py runs it with vLLM."""

from pathlib import Path

from harness.processes import run_python


def test_the_worker_imports_no_http(tmp_path: Path) -> None:
    script = tmp_path / "imports.py"
    script.write_text(
        "import sys, service.engines.vllm_worker\n"
        "print([n for n in ('fastapi', 'starlette', 'uvicorn', 'httpx', 'qdrant_client') if n in sys.modules])\n"
    )
    assert run_python("-c", script.read_text(), seconds=300).strip().endswith("[]")
