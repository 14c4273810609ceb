"""Copies on a Qdrant server; `test_settings.py` checks addresses, keys and certificates."""

from pathlib import Path

import pytest

from service.settings import Settings
from service.settings.qdrant import check_qdrant


@pytest.mark.parametrize(("copies", "acknowledged"), [(1, 1), (3, 2), (3, 3)])
def test_a_write_can_be_acknowledged(copies: int, acknowledged: int) -> None:
    check_qdrant(Settings(checkpoint=Path("/c"), qdrant_replication=copies, qdrant_write_consistency=acknowledged))


def test_no_more_copies_than_there_are() -> None:
    with pytest.raises(ValueError, match="no write could be acknowledged"):
        Settings(checkpoint=Path("/c"), qdrant_replication=2, qdrant_write_consistency=3)
