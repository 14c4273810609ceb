"""The service on the real model, as a process of its own."""

import threading
import time
from pathlib import Path

import httpx
import pytest

from harness.service import running_service
from notellm import Checkpoint

pytestmark = [pytest.mark.integration, pytest.mark.slow("embeds with the real model until liveness was asked often")]


def test_liveness_answers_while_256_notes_are_being_embedded(smollm2: Checkpoint, tmp_path: Path) -> None:
    notes = [{"id": f"n{number}", "title": f"note {number}"} for number in range(256)]
    finished: list[int] = []

    def embed(url: str) -> None:
        answer = httpx.post(f"{url}/notes/embed", json={"notes": notes}, timeout=300)
        finished.append(answer.status_code)

    with running_service(smollm2.path, tmp_path) as service:
        embedding = threading.Thread(target=embed, args=(service.url,))
        embedding.start()
        answers = 0
        while embedding.is_alive():
            assert httpx.get(f"{service.url}/health/live", timeout=60).json() == {"status": "ok"}
            answers += not finished
            time.sleep(0.1)
        assert finished == [200]
        assert answers >= 3
        assert service.get("/model").json()["notes"] == 256
