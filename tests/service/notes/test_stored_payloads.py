"""What earlier releases have stored of a note is what this one stores of it: otherwise every stored note would count as changed.

See docs/recipes.md, "A new field of a note".
"""

from typing import Any

import pytest

from notellm import Note

# As release 0.1.0 has written them. New fields stand in the second note only, and never in the first payload.
NOTES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"id": "a", "title": "Coffee"},
        {
            "id": "a",
            "title": "Coffee",
            "content": "",
            "hashtags": [],
            "category": None,
            "created_at": None,
            "version": None,
            "hashtag_keys": [],
            "content_hash": "0e8060408a7fae88b0517fddb2c047093ecc22862dd070c39f7769c53953eed7",
        },
    ),
    (
        {
            "id": "b",
            "title": "Tea #green",
            "content": "Steep it.",
            "hashtags": ["#King Glory"],
            "category": "tea",
            "created_at": "2026-01-31T09:00:00+01:00",
            "version": 3,
        },
        {
            "id": "b",
            "title": "Tea #green",
            "content": "Steep it.",
            "hashtags": ["King Glory", "green"],
            "category": "tea",
            "created_at": "2026-01-31T08:00:00Z",
            "version": 3,
            "hashtag_keys": ["kingglory", "green"],
            "content_hash": "c50347e4f058d4afde8ebf84896b178d806da28c6a1ee990c854e33d28a1f200",
        },
    ),
]


@pytest.mark.parametrize(("fields", "stored"), NOTES, ids=["least", "all fields"])
def test_a_note_has_the_payload_that_earlier_releases_have_stored(fields: dict[str, Any], stored: dict[str, Any]) -> None:
    assert Note.model_validate(fields).payload() == stored, "leave a new field out of the payload when it has its default"


def test_the_second_note_has_every_field() -> None:
    assert NOTES[1][0].keys() == Note.model_fields.keys(), "give it the new field, and its payload, too"
