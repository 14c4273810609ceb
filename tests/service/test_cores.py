import os
from pathlib import Path

import pytest

from service.cores import usable_cores


@pytest.mark.parametrize(
    ("text", "share"), [("150000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 99), ("what\n", 99), (None, 99)]
)
def test_a_containers_share_limits_the_cores(text: str | None, share: int, tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    if text is not None:
        file.write_text(text)
    assert usable_cores(file) == min(len(os.sched_getaffinity(0)), share)
