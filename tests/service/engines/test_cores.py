import os
from pathlib import Path

import pytest

from service.engines.cores import usable_cores


@pytest.mark.parametrize(
    ("text", "share"), [("150000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 99), ("what\n", 99), (None, 99)]
)
def test_a_containers_share_limits_the_cores(text: str | None, share: int, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path) == min(len(os.sched_getaffinity(0)), share)


@pytest.mark.parametrize(("quota", "share"), [("150000", 2), ("50000", 1), ("-1", 99), ("", 99)])
def test_so_does_that_of_older_control_groups(quota: str, share: int, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in (("quota", quota), ("period", "100000")):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(f"{text}\n")
    assert usable_cores(tmp_path) == min(len(os.sched_getaffinity(0)), share)
