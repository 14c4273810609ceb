import base64
from datetime import UTC, datetime

import numpy as np

from notellm.client import calls


def test_a_vector_keeps_every_bit() -> None:
    vector = np.random.default_rng(0).standard_normal(5).astype("<f4")
    encoded = base64.b64encode(vector.tobytes()).decode()
    fields = {"id": "a", "title": "", "content": "", "hashtags": [], "content_hash": "h"}
    read = calls.get("a", vector=True).read({**fields, "vector": encoded}).vector
    assert np.array_equal(np.array(read, np.float32), vector)
    assert calls.get("a", vector=False).read(fields).vector is None
    assert calls.get("a", vector=True).read({**fields, "vector": [1.0]}).vector == [1.0]


def test_ids_cannot_leave_their_place_in_the_path() -> None:
    assert calls.delete("../model?x=1#y").path == "/notes/..%2Fmodel%3Fx%3D1%23y"


def test_fields_may_be_times_and_tuples() -> None:
    note = {"id": "a", "hashtags": ("x", "y"), "created_at": datetime(2026, 1, 2, tzinfo=UTC)}
    assert calls.as_json(note) == {"id": "a", "hashtags": ["x", "y"], "created_at": "2026-01-02T00:00:00Z"}


def test_what_is_not_set_is_not_sent() -> None:
    assert calls.similar_to({"note": None, "ids": ["a"], "limit": 3}).body == {"ids": ["a"], "limit": 3}
