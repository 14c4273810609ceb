"""Backups that are written and read while the index moves to another model."""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from notellm import Checkpoint
from notellm.checkpoint import vector_name_of
from service.bulk import backup
from service.bulk.backup import export, read_header
from service.bulk.client import ServiceClient
from service.bulk.progress import Progress
from service.bulk.restore import EmbedJob, RestoreJob
from service.bulk.run import BulkRun
from service.errors import CommandError
from tests.service.bulk.files import Json, note, read_lines
from tests.service.calls import embed
from tests.service.serving.migrating import MANY, change, reach, start

Meanwhile = Callable[[], Awaitable[object]]


class Interrupted(ServiceClient):
    """Runs `meanwhile` before it asks for the third page, and before it sends POST request number `before`."""

    def __init__(self, http: httpx.AsyncClient, meanwhile: Meanwhile, *, before: int = 2) -> None:
        super().__init__(http, patience=5)
        self._meanwhile = meanwhile
        self._before = before
        self._asked = self._sent = 0

    async def get(self, path: str, **query: str | int) -> Json:
        self._asked += 1
        if self._asked == 3:
            await self._meanwhile()
        return await super().get(path, **query)

    async def post(self, path: str, body: Json) -> Json:
        self._sent += 1
        if self._sent == self._before:
            await self._meanwhile()
        return await super().post(path, body)


@pytest.fixture
async def moving(client: httpx.AsyncClient, next_path: Path, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    """A service whose notes have vectors of two models."""
    monkeypatch.setattr(backup, "PAGE_NOTES", 20)
    await embed(client, MANY)
    await start(client, next_path)
    await reach(client, "filled")
    return client


async def test_an_export_is_of_one_model_whichever_answers(moving: httpx.AsyncClient, tiny_path: Path, tmp_path: Path) -> None:
    before, during, after = (tmp_path / f"{name}.jsonl" for name in ("before", "during", "after"))
    await export(ServiceClient(moving, patience=5), before)
    await export(Interrupted(moving, lambda: change(moving, "switch")), during)
    assert read_header(during).vector_name == vector_name_of(Checkpoint.open(tiny_path))
    assert read_lines(during) == read_lines(before)
    await export(Interrupted(moving, lambda: change(moving, "rollback")), after)
    assert {len(line["vector"]) for line in read_lines(after)[1:-1]} != {
        len(line["vector"]) for line in read_lines(before)[1:-1]
    }
    assert read_header(after).dimensions == 16


async def test_an_export_ends_where_its_model_is_dropped(moving: httpx.AsyncClient, tmp_path: Path) -> None:
    async def finish() -> None:
        await change(moving, "switch")
        await change(moving, "finish")

    path = tmp_path / "backup.jsonl"
    with pytest.raises(CommandError, match="the model changed during the export: run export again"):
        await export(Interrupted(moving, finish), path)
    assert not path.exists()
    assert not path.with_name("backup.jsonl.partial").exists()


async def test_an_export_from_a_service_that_gives_what_answers_ends(moving: httpx.AsyncClient, tmp_path: Path) -> None:
    class Earlier(Interrupted):
        """A client of an earlier release of the service, which does not know the parameter `vector_name`."""

        async def get(self, path: str, **query: str | int) -> Json:
            return await super().get(path, **{name: value for name, value in query.items() if name != "vector_name"})

    with pytest.raises(CommandError, match="the model changed during the export: run export again"):
        await export(Earlier(moving, lambda: change(moving, "switch")), tmp_path / "backup.jsonl")


async def test_a_switch_ends_an_import_and_rejects_nothing(
    moving: httpx.AsyncClient, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    path = tmp_path / "backup.jsonl"
    more = [note(number) for number in range(200)]
    await embed(client, more)
    await export(ServiceClient(moving, patience=5), path)
    for one in [*more, *MANY]:
        await client.delete(f"/notes/{one['id']}")
    name = read_header(path).vector_name

    async def run(service: ServiceClient) -> Counter[str]:
        with Progress(path, "import", tmp_path) as progress:
            return await BulkRun(path, RestoreJob(service, name), progress).run()

    with pytest.raises(CommandError, match=r"422: vector_name: the index holds vectors of next-.* run the same command again"):
        # With force, because notes of the first batch may lack the other model's vectors for a moment.
        await run(Interrupted(moving, lambda: change(moving, "switch", force=True)))
    assert (tmp_path / "backup.jsonl.rejects.jsonl").read_bytes() == b""
    await change(moving, "rollback", force=True)
    counts = await run(ServiceClient(moving, patience=5))
    assert counts["stored"] + counts["unchanged"] == 290
    assert counts["rejected"] == 0


async def stopped_by_a_switch(path: Path, client: httpx.AsyncClient, before: int) -> Counter[str]:
    service = Interrupted(client, lambda: change(client, "switch", force=True), before=before)
    with Progress(path, "import", path.parent) as progress:
        return await BulkRun(path, EmbedJob(service, read_header(path).vector_name, empty=True), progress).run()


@pytest.mark.parametrize(
    ("before", "message"), [(1, "vectors of next-.* now"), (3, "422: vector_name: the index holds vectors")]
)
async def test_a_switch_ends_an_import_that_embeds_and_stores_no_vector_under_a_wrong_name(
    before: int, message: str, moving: httpx.AsyncClient, tmp_path: Path
) -> None:
    """The switch comes before a batch is embedded, or between embedding and storing it."""
    path = tmp_path / "backup.jsonl"
    await export(ServiceClient(moving, patience=5), path)
    for one in MANY:
        await moving.delete(f"/notes/{one['id']}")
    with pytest.raises(CommandError, match=message):
        await stopped_by_a_switch(path, moving, before)
    assert (tmp_path / "backup.jsonl.rejects.jsonl").read_bytes() == b""
    page = await ServiceClient(moving, patience=5).get("/admin/notes", limit=1)
    with Progress(path, "import of the other", tmp_path) as progress:
        counts = await BulkRun(path, EmbedJob(ServiceClient(moving, patience=5), page["vector_name"]), progress).run()
    assert counts.total() == counts["stored"] + counts["unchanged"] == len(MANY)
