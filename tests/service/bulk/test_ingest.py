"""Runs that ingest files into a service in this process."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest

from notellm import PromptSettings
from notellm.client.refusals import read_refusal
from notellm.note import Note
from service.bulk.client import ServiceClient
from service.bulk.ingest import IngestJob
from service.bulk.progress import Progress
from service.bulk.run import MAX_FAILURES_IN_A_ROW, BulkRun
from service.errors import CommandError
from service.http import create_app
from service.serving import Runtime, open_service
from service.settings import Settings
from tests.service.bulk.files import Json, note, read_lines, write_lines
from tests.service.notes.tagging import make_knowing


async def ingest(path: Path, job: IngestJob, purpose: str = "ingest") -> Counter[str]:
    with Progress(path, purpose, path.parent) as progress:
        return await BulkRun(path, job, progress).run()


def left_over(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir() if file.is_file()} - {path.name}


async def test_every_good_row_is_stored_and_every_bad_one_told(service: ServiceClient, tmp_path: Path) -> None:
    rows: list[dict[str, object] | str] = [note(number) for number in range(200)]
    rows[6] = "{broken"
    rows[77] = note(77, title="x" * 3000)
    rows.append(note(5, title="again"))
    path = write_lines(tmp_path / "notes.jsonl", rows)
    assert await ingest(path, IngestJob(service)) == {"stored": 199, "rejected": 2}
    rejects = read_lines(tmp_path / "notes.jsonl.rejects.jsonl")
    assert [reject["row"] for reject in rejects] == [7, 78]
    assert rejects[1]["note"]["id"] == "n77"
    assert (await service.get("/model"))["notes"] == 198
    assert (await service.get("/notes/n5"))["title"] == "again"
    assert left_over(path) == {"notes.jsonl.rejects.jsonl"}


async def test_unchanged_notes_are_not_embedded_again(service: ServiceClient, runtime: Runtime, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(number, version=2) for number in range(100)])
    await ingest(path, IngestJob(service))
    computed = batches_of(runtime)
    assert await ingest(path, IngestJob(service)) == {"unchanged": 100}
    assert batches_of(runtime) == computed
    assert left_over(path) == set()
    write_lines(path, [note(number, version=1) for number in range(3)])
    assert await ingest(path, IngestJob(service)) == {"stale": 3}


def batches_of(runtime: Runtime) -> float | None:
    return runtime.metrics.registry.get_sample_value("notellm_batch_notes_sum", {"queue": "embed"})


class Stops(IngestJob):
    """Fails like a killed process after some requests. The last one was answered, but the answer was not recorded."""

    def __init__(self, client: ServiceClient, after: int) -> None:
        super().__init__(client)
        self._left = after

    async def send(self, items: Sequence[Note]) -> list[str]:
        answer = await super().send(items)
        self._left -= 1
        if self._left <= 0:
            raise CommandError("stopped")
        return answer


async def test_a_second_run_goes_on_where_the_first_was_stopped(service: ServiceClient, tmp_path: Path) -> None:
    rows: list[dict[str, object] | str] = [note(number) for number in range(448)]
    bad = [3, 100, *range(190, 400, 30)]  # every batch that may be sent twice has some
    for row in bad:
        rows[row] = "{broken"
    path = write_lines(tmp_path / "notes.jsonl", rows)
    with pytest.raises(CommandError, match="stopped"):
        await ingest(path, Stops(service, after=6))
    assert left_over(path) == {"notes.jsonl.progress.json", "notes.jsonl.rejects.jsonl"}
    counting = Counting(service)
    counts = await ingest(path, counting)
    assert counts["stored"] + counts["unchanged"] == 448 - len(bad)
    assert counts["rejected"] == len(bad)
    assert counting.sent <= 448 - 4 * 64 + 64  # five batches were recorded; the last of them is sent again as a check
    assert [reject["row"] for reject in read_lines(tmp_path / "notes.jsonl.rejects.jsonl")] == [row + 1 for row in bad]
    assert (await service.get("/model"))["notes"] == 448 - len(bad)


@pytest.mark.parametrize("versioned", [True, False])
async def test_what_is_newer_than_the_file_is_kept_only_by_its_version(
    versioned: bool, service: ServiceClient, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """The next run sends the batch again that was answered but not recorded. Before that, somebody changes and deletes notes."""
    first, second = ({"version": 1}, {"version": 2}) if versioned else ({}, {})
    path = write_lines(tmp_path / "notes.jsonl", [note(number, **first) for number in range(448)])
    with pytest.raises(CommandError, match="stopped"):
        await ingest(path, Stops(service, after=6))
    await service.post("/notes/embed", {"notes": [note(350, title="newer", **second)]})
    assert (await client.delete("/notes/n351")).status_code == 204
    counts = await ingest(path, IngestJob(service))
    assert (await service.get("/notes/n350"))["title"] == ("newer" if versioned else "note 350")
    assert (await service.get("/model"))["notes"] == (447 if versioned else 448)
    assert counts["stale"] == (2 if versioned else 0)


class Counting(IngestJob):
    """Counts the notes that it sends."""

    sent = 0

    async def send(self, items: Sequence[Note]) -> list[str]:
        self.sent += len(items)
        return await super().send(items)


@pytest.mark.parametrize("change", ["file", "purpose", "index"])
async def test_it_starts_from_the_beginning_where_going_on_would_lose_notes(
    change: str, service: ServiceClient, other: ServiceClient, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(number) for number in range(448)])
    with pytest.raises(CommandError, match="stopped"):
        await ingest(path, Stops(service, after=6))
    if change == "file":
        write_lines(path, [note(number, title=f"note {number}" if number != 1 else "new") for number in range(448)])
    target = other if change == "index" else service
    counting = Counting(target)
    await ingest(path, counting, "another" if change == "purpose" else "ingest")
    assert counting.sent >= 448
    assert (await target.get("/model"))["notes"] == 448
    if change == "file":
        assert (await target.get("/notes/n1"))["title"] == "new"


async def test_two_runs_over_one_file_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(1)])
    with Progress(path, "ingest", tmp_path), pytest.raises(CommandError, match="another command"):
        Progress(path, "ingest", tmp_path)


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(1)])
    with pytest.raises(CommandError, match="Choose another directory with --state-dir"):
        Progress(path, "ingest", tmp_path / "missing")


def client_of(runtime: Runtime, settings: Settings) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(runtime, settings), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_smaller_limits_of_the_service_are_kept(
    runtime: Runtime, settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    long = [note(number, content="x" * 1500) for number in range(10)]
    path = write_lines(tmp_path / "notes.jsonl", [*long, note(10), note(11)])
    async with client_of(runtime, settings_for(max_notes_per_request=3, max_body_bytes=2048)) as http:
        counts = await ingest(path, IngestJob(ServiceClient(http, patience=5)))
    assert counts == {"stored": 12}
    write_lines(path, [note(1, content="x" * 3000), note(2, content="new")])
    async with client_of(runtime, settings_for(max_body_bytes=2048)) as http:
        assert await ingest(path, IngestJob(ServiceClient(http, patience=5))) == {"stored": 1, "rejected": 1}
    assert "413" in read_lines(tmp_path / "notes.jsonl.rejects.jsonl")[0]["reason"]


class Poisoned(IngestJob):
    """The service fails on some notes, as it does when the model gives a vector that is not finite."""

    def __init__(self, client: ServiceClient, poison: set[str]) -> None:
        super().__init__(client)
        self._poison = poison

    async def send(self, items: Sequence[Note]) -> list[str]:
        if any(one.id in self._poison for one in items):
            raise read_refusal(500, {"detail": "the model failed"})
        return await super().send(items)


async def test_notes_on_which_the_model_fails_are_found(service: ServiceClient, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(number) for number in range(100)])
    assert await ingest(path, Poisoned(service, {"n7", "n64"})) == {"stored": 98, "rejected": 2}
    assert [reject["note"]["id"] for reject in read_lines(tmp_path / "notes.jsonl.rejects.jsonl")] == ["n7", "n64"]


async def test_a_service_that_fails_on_everything_does_not_reject_the_whole_file(
    service: ServiceClient, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(number) for number in range(100)])
    with pytest.raises(CommandError, match=f"failed on {MAX_FAILURES_IN_A_ROW} notes in a row"):
        await ingest(path, Poisoned(service, {f"n{number}" for number in range(100)}))
    assert await ingest(path, IngestJob(service)) == {"stored": 100}


@pytest.mark.parametrize(
    ("status", "errors"),
    [
        (404, []),
        (409, []),
        (422, []),
        (422, [{"field": "vectors", "rule": "bool_type", "message": "must be a boolean"}]),
        (422, [{"field": "notes", "rule": "x", "message": "x"}, {"field": "vector_name", "rule": "x", "message": "x"}]),
    ],
)
async def test_what_is_refused_as_a_whole_ends_the_command_and_rejects_nothing(
    status: int, errors: list[Json], service: ServiceClient, tmp_path: Path
) -> None:
    class Refusing(Counting):
        """Refuses every request after the first ones."""

        async def send(self, items: Sequence[Note]) -> list[str]:
            if self.sent >= 3 * 64:
                raise read_refusal(status, {"detail": "not so", "errors": errors})
            return await super().send(items)

    path = write_lines(tmp_path / "notes.jsonl", [note(number) for number in range(320)])
    with pytest.raises(CommandError, match=f"{status}: not so. The rows before that are stored: run the same command again"):
        await ingest(path, Refusing(service))
    assert (tmp_path / "notes.jsonl.rejects.jsonl").read_bytes() == b""
    counts = await ingest(path, IngestJob(service))
    assert counts["stored"] + counts["unchanged"] == 320


async def test_notes_without_hashtags_get_suggested_ones(
    settings_for: Callable[..., Settings], tiny_base: Path, tmp_path: Path
) -> None:
    knowing = make_knowing(tmp_path / "knowing", tiny_base, PromptSettings())
    path = write_lines(
        tmp_path / "notes.jsonl", [note(1), note(2, hashtags=[]), note(3, hashtags=[], content="inline #espresso")]
    )
    settings = settings_for(checkpoint=knowing.path)
    async with open_service(settings) as runtime, client_of(runtime, settings) as http:
        service = ServiceClient(http, patience=5)
        assert await ingest(path, IngestJob(service, hashtags=True)) == {"stored": 3}
        text = {"title": "note 2", "content": "sour sour"}
        asked = await service.post("/notes/hashtags", {"notes": [text], "category": False})
        suggested = [tag["hashtag"] for tag in asked["notes"][0]["hashtags"]]
        assert len(suggested) == 5
        for number, expected in ((1, ["coffee"]), (2, suggested), (3, ["espresso"])):
            assert (await service.get(f"/notes/n{number}"))["hashtags"] == expected
        ranked = ranked_by(runtime)
        assert await ingest(path, IngestJob(service, hashtags=True)) == {"unchanged": 3}
        assert ranked_by(runtime) == ranked
        write_lines(path, [note(2, hashtags=[], content="changed")])
        assert await ingest(path, IngestJob(service, hashtags=True)) == {"stored": 1}
        assert ranked_by(runtime) != ranked


def ranked_by(runtime: Runtime) -> float | None:
    return runtime.metrics.registry.get_sample_value("notellm_batch_notes_sum", {"queue": "rank"})


async def test_progress_of_another_program_is_passed_over(service: ServiceClient, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(1)])
    for content in ("{", json.dumps({"job": 3}), json.dumps({"job": "ingest", "state": {"rows": 1}})):
        (tmp_path / "notes.jsonl.progress.json").write_text(content)
        assert (await ingest(path, IngestJob(service))).total() == 1
