"""Export and import through the admin endpoints of a service in this process."""

import asyncio
import base64
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from notellm.client import InvalidRequest
from notellm.note import Note
from service.bulk.backup import Footer, export, read_header
from service.bulk.batches import ItemT
from service.bulk.client import ServiceClient
from service.bulk.progress import Progress
from service.bulk.restore import EmbedJob, RestoreJob
from service.bulk.run import BulkRun, Job
from service.errors import CommandError
from service.index import IndexedNote
from service.serving import Runtime
from tests.service.bulk.files import Json, note, read_lines, write_lines

NOTES = [
    note(1, created_at="2026-01-01T00:00:00Z", version=3, category="食品"),
    note(2, content="inline #espresso \u2028 周末 🍺", version=0),
    note(3, hashtags=[]),
    *(note(number) for number in range(4, 250)),
]


async def filled(service: ServiceClient, notes: list[Json] = NOTES) -> None:
    for start in range(0, len(notes), 125):
        await service.post("/notes/embed", {"notes": notes[start : start + 125]})


async def contents(runtime: Runtime) -> dict[str, IndexedNote]:
    page = await runtime.archive.page(None, 1000)
    return {one.id: one for one in page.notes}


async def run(path: Path, job: Job[ItemT]) -> Counter[str]:
    with Progress(path, job.name, path.parent) as progress:
        return await BulkRun(path, job, progress).run()


async def vector_name(service: ServiceClient) -> str:
    name: str = (await service.get("/admin/notes", limit=1))["vector_name"]
    return name


@pytest.mark.parametrize("name", ["backup.jsonl", "backup.jsonl.gz"])
async def test_what_goes_out_comes_in_again(
    name: str, service: ServiceClient, other: ServiceClient, runtime: Runtime, other_runtime: Runtime, tmp_path: Path
) -> None:
    await filled(service)
    path = tmp_path / name
    assert await export(service, path) == Footer(notes=249)
    header = read_header(path)
    assert header.vector_name == await vector_name(service)
    assert await run(path, RestoreJob(other, header.vector_name)) == {"stored": 249}
    before, after = await contents(runtime), await contents(other_runtime)
    assert {note_id: one.payload for note_id, one in before.items()} == {note_id: one.payload for note_id, one in after.items()}
    for note_id, one in before.items():
        np.testing.assert_allclose(one.vector, after[note_id].vector, atol=1e-7)  # type: ignore[arg-type]
    assert other_runtime.metrics.registry.get_sample_value("notellm_batch_notes_sum", {"queue": "embed"}) in {None, 0}
    assert await run(path, RestoreJob(other, header.vector_name)) == {"unchanged": 249}
    again = path.with_name("again.jsonl")
    await export(other, again)
    text = gzip.open(path).read() if name.endswith(".gz") else path.read_bytes()  # noqa: SIM115
    assert [line["note"] for line in map(json.loads, text.splitlines()[1:-1])] == [
        line["note"] for line in read_lines(again)[1:-1]
    ]


async def test_an_import_never_overwrites_what_may_be_newer(service: ServiceClient, tmp_path: Path) -> None:
    await filled(service, [note(1, version=2), note(2, version=2), note(3), note(4)])
    path = tmp_path / "backup.jsonl"
    await export(service, path)
    await filled(service, [note(1, version=3, title="newer"), note(2, version=1), note(3, title="newer")])
    await service.post("/notes/embed", {"notes": [note(5, title="only here")]})
    counts = await run(path, RestoreJob(service, await vector_name(service)))
    assert counts == {"kept": 2, "unchanged": 2}
    assert [(await service.get(f"/notes/n{number}"))["title"] for number in (1, 2, 3, 5)] == [
        "newer",
        "note 2",
        "newer",
        "only here",
    ]


def changed(line: Json, **fields: object) -> Json:
    return line | fields


def encoded(values: list[float]) -> str:
    return base64.b64encode(np.array(values, dtype="<f4").tobytes()).decode()


async def test_bad_lines_are_rejected_and_the_others_stored(
    service: ServiceClient, other: ServiceClient, tmp_path: Path
) -> None:
    await filled(service)
    path = tmp_path / "backup.jsonl"
    await export(service, path)
    lines: list[Any] = read_lines(path)
    size = lines[0]["dimensions"]
    vectors = {3: encoded([2.0] + [0.0] * (size - 1)), 70: encoded([float("nan")] * size), 71: encoded([1.0]), 72: "no base64"}
    for place, vector in vectors.items():
        lines[place] = changed(lines[place], vector=vector)
    lines[73] = changed(lines[73], note=lines[73]["note"] | {"title": "another text"})
    lines[74] = "{broken"
    lines[75] = changed(lines[75], vector=None)
    lines[76] = [1]
    write_lines(path, [line if isinstance(line, str) else json.dumps(line) for line in lines])
    counts = await run(path, RestoreJob(other, await vector_name(other)))
    assert counts == {"stored": 241, "rejected": 8}
    rejects = {reject["row"]: reject["reason"] for reject in read_lines(tmp_path / "backup.jsonl.rejects.jsonl")}
    assert list(rejects) == [4, 71, 72, 73, 74, 75, 76, 77]
    assert rejects[4] == rejects[71] == "vector: must be finite and of length 1"
    assert rejects[72] == rejects[73] == f"vector: must be the base64 of {size} little-endian float32 numbers"
    assert rejects[74] == "content_hash: the vector belongs to another text: embed the note again instead"
    assert (await other.get("/model"))["notes"] == 241


async def test_notes_are_embedded_again_where_asked(
    service: ServiceClient, other: ServiceClient, runtime: Runtime, other_runtime: Runtime, tmp_path: Path
) -> None:
    await filled(service)
    path = tmp_path / "backup.jsonl"
    await export(service, path)
    lines = read_lines(path)
    write_lines(path, [lines[0] | {"vector_name": "another"}, *(line | {"vector": None} for line in lines[1:-1]), lines[-1]])
    assert await run(path, EmbedJob(other, await vector_name(other))) == {"stored": 249}
    before, after = await contents(runtime), await contents(other_runtime)
    for note_id, one in before.items():
        assert one.payload == after[note_id].payload
        np.testing.assert_allclose(one.vector, after[note_id].vector, atol=1e-5)  # type: ignore[arg-type]


async def test_a_file_that_is_not_whole_is_refused(service: ServiceClient, tmp_path: Path) -> None:
    await filled(service, NOTES[:10])
    path = tmp_path / "backup.jsonl"
    await export(service, path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (whole[:-5], b"".join(lines[:-1]), b"".join(lines[:-2]), b"".join([*lines[:3], *lines[4:]]), lines[0]):
        path.write_bytes(damaged)
        with pytest.raises(CommandError, match="is incomplete"):
            read_header(path)
    for other in (b"", b"{}\n", json.dumps(note(1)).encode(), whole.replace(b'"format_version": 2', b'"format_version": 3')):
        path.write_bytes(other)
        with pytest.raises(CommandError, match="is not a backup that this release can read"):
            read_header(path)


async def test_a_backup_that_fails_leaves_the_last_one(
    service: ServiceClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(service)
    path = tmp_path / "backup.jsonl"
    path.write_text("the last one")
    pages = 0
    ask = service.get

    async def failing(where: str, **query: str | int) -> Json:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise CommandError("away")
        return await ask(where, **query)

    monkeypatch.setattr(service, "get", failing)
    with pytest.raises(CommandError, match="away"):
        await export(service, path)
    assert path.read_text() == "the last one"
    assert not path.with_name("backup.jsonl.partial").exists()
    with pytest.raises(CommandError, match="cannot be written"):
        await export(service, tmp_path / "missing" / "backup.jsonl")


async def test_an_import_computes_nothing_between_other_requests(
    service: ServiceClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing 256 notes and decoding their vectors takes too long for the event loop, so a thread must do it."""
    await filled(service, NOTES[:10])
    path = tmp_path / "backup.jsonl"
    await export(service, path)
    loop, compute = asyncio.get_running_loop(), Note.payload
    inside: list[bool] = []

    def payload(note: Note) -> dict[str, Any]:
        inside.append(asyncio._get_running_loop() is loop)
        return compute(note)

    monkeypatch.setattr(Note, "payload", payload)
    await run(path, RestoreJob(service, read_header(path).vector_name))
    assert inside == [False] * 10


async def test_an_empty_index_goes_out_and_in(service: ServiceClient, tmp_path: Path) -> None:
    path = tmp_path / "backup.jsonl"
    assert await export(service, path) == Footer(notes=0)
    assert await run(path, RestoreJob(service, read_header(path).vector_name)) == {}


async def test_admin_refuses_another_models_vectors_and_ids_that_stand_twice(service: ServiceClient) -> None:
    await filled(service, NOTES[:2])
    page = await service.get("/admin/notes")
    with pytest.raises(InvalidRequest, match="the index holds vectors of") as refused:
        await service.post("/admin/notes", {"vector_name": "other", "notes": page["notes"]})
    assert refused.value.status == 422
    with pytest.raises(InvalidRequest, match="is also the id of an earlier note"):
        await service.post("/admin/notes", {"vector_name": page["vector_name"], "notes": [page["notes"][0]] * 2})
    with pytest.raises(InvalidRequest, match=r"query\.start"):
        await service.get("/admin/notes", start="n1")


async def test_the_example_of_the_import_call_is_right(service: ServiceClient) -> None:
    await filled(service, [note(1)])
    schema = (await service.get("/openapi.json"))["components"]["schemas"]
    example = schema["RestoreRequest"]["example"]
    mine = await service.get("/admin/notes")
    line = example["notes"][0] | {"vector": mine["notes"][0]["vector"]}
    answer = await service.post("/admin/notes", {"vector_name": mine["vector_name"], "notes": [line]})
    assert answer == {"notes": [{"id": "coffee-1024", "status": "stored"}]}
    stored = (await service.get("/notes/coffee-1024"))["content_hash"]
    assert stored == line["content_hash"] == Note.model_validate(line["note"]).content_hash
