"""`import --embed`: the model that answers embeds the notes of a backup; they do not replace notes that may be newer."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest

from service.bulk.backup import export, read_header
from service.bulk.client import ServiceClient
from service.bulk.progress import Progress
from service.bulk.restore import EmbedJob
from service.bulk.run import BulkRun
from service.errors import CommandError, ModelFailed
from service.http import create_app
from service.notes import NoteService
from service.notes.embedder import EmbeddedText
from service.serving import Runtime
from service.settings import Settings
from tests.service.bulk.files import Json, note, read_lines, write_lines

LONG = "sour " * 2_000


async def store(service: ServiceClient, notes: list[Json]) -> None:
    await service.post("/notes/embed", {"notes": notes, "vectors": False})


async def run(path: Path, job: EmbedJob) -> Counter[str]:
    with Progress(path, job.name, path.parent) as progress:
        return await BulkRun(path, job, progress).run()


async def titles(service: ServiceClient) -> dict[str, str]:
    page = await service.get("/admin/notes")
    return {line["note"]["id"]: line["note"]["title"] for line in page["notes"]}


def embedded(runtime: Runtime) -> float:
    return runtime.metrics.registry.get_sample_value("notellm_batch_notes_sum", {"queue": "embed"}) or 0


@pytest.fixture
async def backup(service: ServiceClient, tmp_path: Path) -> Path:
    """A backup of notes, some with versions and some without."""
    await store(service, [*(note(number, version=2) for number in (1, 2, 3, 4)), note(5), note(6), note(7, content=LONG)])
    path = tmp_path / "backup.jsonl"
    await export(service, path)
    return path


async def test_what_may_be_newer_is_kept(backup: Path, other: ServiceClient, other_runtime: Runtime) -> None:
    await store(other, [note(1, version=3, title="newer"), note(2, title="unversioned"), note(3, version=1, title="older")])
    await store(other, [note(4, version=2), note(5, title="unversioned too"), note(6)])
    await other_runtime.served.notes.delete("n4")
    before = embedded(other_runtime)
    counts = await run(backup, EmbedJob(other, read_header(backup).vector_name))
    assert counts == {"stored": 2, "kept": 4, "unchanged": 1}
    assert await titles(other) == {
        "n1": "newer", "n2": "unversioned", "n3": "note 3", "n5": "unversioned too", "n6": "note 6", "n7": "note 7",
    }  # fmt: skip
    assert (
        embedded(other_runtime) - before == 3
    )  # two that are stored, and the deleted one: the job cannot know that it was deleted


async def test_an_empty_index_is_asked_for_no_notes(backup: Path, other: ServiceClient) -> None:
    async def get(path: str, **_: str | int) -> Json:
        raise AssertionError(path)

    other.get = get  # type: ignore[method-assign]
    assert await run(backup, EmbedJob(other, read_header(backup).vector_name, empty=True)) == {"stored": 7}


async def test_a_note_that_the_model_cannot_embed_is_rejected(
    backup: Path, other: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = NoteService.embed_texts

    async def failing(self: NoteService, notes: Sequence[object], **options: bool) -> list[EmbeddedText]:
        if any(one.title == "note 3" for one in notes):  # type: ignore[attr-defined]
            raise ModelFailed("the model gave a vector that is not finite")
        return await embed(self, notes, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(NoteService, "embed_texts", failing)
    await store(other, [note(1, version=2)])
    assert await run(backup, EmbedJob(other, read_header(backup).vector_name)) == {"stored": 5, "unchanged": 1, "rejected": 1}
    [reject] = read_lines(backup.with_name("backup.jsonl.rejects.jsonl"))
    assert reject["note"]["note"]["id"] == "n3"
    assert "the model gave a vector that is not finite" in reject["reason"]


async def test_what_the_service_refuses_is_told_by_its_row(backup: Path, other: ServiceClient) -> None:
    class Damaging(ServiceClient):
        """Damages the vector of one note; the index keeps two others of the same batch as they are."""

        async def post(self, path: str, body: Json) -> Json:
            for line in body["notes"]:
                if line.get("note", {}).get("id") == "n3":
                    line["vector"] = "AAAA"
            return await other.post(path, body)

        async def get(self, path: str, **query: str | int) -> Json:
            return await other.get(path, **query)

    await store(other, [note(1, version=3), note(2, version=3)])
    job = EmbedJob(Damaging(httpx.AsyncClient(base_url="http://nobody"), patience=0), read_header(backup).vector_name)
    assert await run(backup, job) == {"stored": 4, "kept": 2, "rejected": 1}
    [reject] = read_lines(backup.with_name("backup.jsonl.rejects.jsonl"))
    assert reject["note"]["note"]["id"] == "n3"
    assert reject["reason"].startswith("vector: must be the base64 of")


async def test_smaller_limits_of_the_service_are_kept(
    backup: Path, other_runtime: Runtime, settings_for: Callable[..., Settings]
) -> None:
    app = create_app(other_runtime, settings_for(max_notes_per_request=2))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        job = EmbedJob(ServiceClient(http, patience=5), read_header(backup).vector_name)
        assert await run(backup, job) == {"stored": 7}


async def test_vectors_of_another_model_are_not_stored(backup: Path, other: ServiceClient) -> None:
    """One of two replicas may have switched to another model before the other."""

    class Switched(ServiceClient):
        async def post(self, path: str, body: Json) -> Json:
            answer = await other.post(path, body)
            return answer | {"vector_name": "next-1"} if path == "/notes/embed" else answer

    job = EmbedJob(
        Switched(httpx.AsyncClient(base_url="http://nobody"), patience=0), read_header(backup).vector_name, empty=True
    )
    with pytest.raises(CommandError, match="vectors of next-1 now"):
        await run(backup, job)
    assert await titles(other) == {}
    assert backup.with_name("backup.jsonl.rejects.jsonl").read_bytes() == b""


async def test_what_the_index_holds_is_not_sent_again(backup: Path, other: ServiceClient, other_runtime: Runtime) -> None:
    name = read_header(backup).vector_name
    assert await run(backup, EmbedJob(other, name)) == {"stored": 7}
    before = embedded(other_runtime)
    assert await run(backup, EmbedJob(other, name)) == {"unchanged": 7}
    assert embedded(other_runtime) == before
    lines = read_lines(backup)
    next(line for line in lines[1:] if "version" in line["note"])["note"] |= {"version": 9, "category": "tea"}
    write_lines(backup, lines)  # type: ignore[arg-type]
    assert await run(backup, EmbedJob(other, name)) == {"stored": 1, "unchanged": 6}
