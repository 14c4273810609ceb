"""Where notes are stored. `test_settings.py` tests the rules between settings."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings.storage import StorageSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("qdrant_url", "qdrant:6333"),
        ("qdrant_collection", "a/b"),
        ("qdrant_grpc_port", 0),
        ("qdrant_quantization", "binary"),
        ("embedded_index_notes", 0),
        ("qdrant_shards", 2000),
        ("min_free_disk_mib", -1),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        StorageSettings.model_validate({name: value})
    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


def test_by_default_the_index_is_embedded() -> None:
    settings = StorageSettings()
    assert (settings.qdrant_url, settings.data_dir, settings.min_free_disk_mib) == (None, Path("data"), 256)
