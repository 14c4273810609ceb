"""Clients read of `hashtags` where the prompt's `topic` is meant."""

from typing import get_args

import httpx

from notellm.messages import NoteField
from notellm.prompt import FieldName
from service.notes.fields import note_field
from tests.service.calls import embed

CROWDED = {"id": "c", "title": "Cold brew", "hashtags": [f"tag{number}" for number in range(90)]}


def test_every_field_of_the_prompt_has_a_name_for_clients() -> None:
    assert {note_field(name) for name in get_args(FieldName)} == set(get_args(NoteField))
    assert [note_field(name) for name in ("title", "topic", "content")] == ["title", "hashtags", "content"]


async def test_answers_and_errors_name_the_hashtags(client: httpx.AsyncClient) -> None:
    assert (await embed(client, [CROWDED], store=False))[0]["truncated"] == ["hashtags"]
    assert (await embed(client, [CROWDED]))[0]["truncated"] == ["hashtags"]
    text = {name: CROWDED[name] for name in ("title", "hashtags")}
    suggested = (await client.post("/notes/hashtags", json={"notes": [text], "category": False})).json()
    assert suggested["notes"][0]["truncated"] == ["hashtags"]
    refused = (await client.post("/notes/embed", json={"notes": [CROWDED], "strict": True})).json()
    assert [error["field"] for error in refused["errors"]] == ["notes[0].hashtags"]
    assert 'notellm_truncations_total{field="topic"}' in (await client.get("/metrics")).text
