"""The engines that suggest hashtags, each with its queues as in the service, all in one process so that they can take turns."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.checkpoint import NOTES
from harness.vllm_server import vllm_server
from notellm import Checkpoint, Note, NotePrompt, NoteText
from notellm.hashtags import HashtagRules
from service.engines import open_engine
from service.notes import SuggestionOptions, SuggestionPrompts
from service.observability import Metrics
from service.queueing import EngineQueues, open_queues
from service.settings import Settings
from training.data import read_notes

TRANSFORMERS, IN_PROCESS, REMOTE = "transformers", "vLLM in process", "vLLM remote"
WRITTEN, RANKED = "written", "ranked"
KINDS = (WRITTEN, RANKED)
CACHE_MIB = 256  # the same as `harness.vllm_server` gives the remote one


@dataclass(frozen=True)
class Answered:
    """When a note's hashtags arrived, and when the whole answer arrived, in seconds after the note was sent."""

    hashtags: float
    whole: float


@dataclass(frozen=True)
class Suggester:
    """One engine with its queues.

    Attributes:
        by_kind: the model's prompts by the kind of hashtags: written by the model, or ranked from its vocabulary.
    """

    name: str
    prompt: NotePrompt
    queues: EngineQueues
    by_kind: Mapping[str, SuggestionPrompts]

    async def suggest(self, kind: str, note: NoteText, count: int, *, category: bool) -> Answered:
        """Asks for one note as `NoteService.suggest` does, and measures when the parts of the answer arrive.

        Raises:
            ExceptionGroup: the engine did not answer, for these reasons.
        """
        clock, suggestions = time.perf_counter, self.by_kind[kind]
        start = clock()
        tokenized = await asyncio.to_thread(self.prompt.tokenize, [note])
        asked = suggestions.ask([note], tokenized, SuggestionOptions(count, category))
        async with asyncio.TaskGroup() as tasks:
            generating = tasks.create_task(self.queues.generations.submit([(one, one.tokens) for one in asked.generations]))
            ranked = await self.queues.rankings.submit([(one, one.tokens) for one in asked.rankings])
            ranking = clock() - start
        asked.read(ranked, generating.result())
        whole = clock() - start
        return Answered(ranking if asked.vocabulary else whole, whole)


def note_supply() -> Iterator[Note]:
    """The demo's notes, repeated without end in a fixed order in which the sites alternate."""
    sites: dict[str, list[Note]] = {}
    for note in read_notes(NOTES):
        sites.setdefault(note.category or "", []).append(note)
    turns = itertools.zip_longest(*sites.values())
    return itertools.cycle([note for turn in turns for note in turn if note is not None])


def engine_settings(checkpoint: Path, threads: int, url: str) -> dict[str, Settings]:
    """The settings of each engine; all other settings have their defaults."""
    common = {"checkpoint": checkpoint, "threads": threads}
    return {
        TRANSFORMERS: Settings.model_validate(common),
        IN_PROCESS: Settings.model_validate(common | {"engine": "vllm", "vllm_cache_mib": CACHE_MIB}),
        REMOTE: Settings.model_validate(common | {"engine": "remote", "remote_url": url}),
    }


@asynccontextmanager
async def open_suggesters(path: Path, threads: int) -> AsyncIterator[list[Suggester]]:
    """Starts all engines, and a `vllm serve` for the remote one. This takes about 90 seconds."""
    checkpoint = Checkpoint.open(path, verify="size")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print("starting vllm serve", flush=True)
        server = stack.enter_context(vllm_server(path, folder))
        opened = []
        for name, settings in engine_settings(path, threads, server.url).items():
            print(f"starting {name}", flush=True)
            opened.append(await _open(stack, name, settings, checkpoint))
        yield opened


async def _open(stack: AsyncExitStack, name: str, settings: Settings, checkpoint: Checkpoint) -> Suggester:
    prompt = checkpoint.prompt()
    engine = await open_engine(settings, checkpoint, prompt)
    stack.push_async_callback(engine.close)
    queues = await stack.enter_async_context(open_queues(engine, prompt, settings, Metrics()))
    rules = HashtagRules.of([], settings.hashtag_min_confidence)
    sizes = {WRITTEN: 0, RANKED: settings.hashtag_vocabulary}
    kinds = {kind: SuggestionPrompts(checkpoint.manifest, prompt, vocabulary=sizes[kind], rules=rules) for kind in KINDS}
    return Suggester(name, prompt, queues, kinds)


async def in_parallel(
    suggester: Suggester, kind: str, notes: Sequence[NoteText], concurrency: int, count: int, *, category: bool
) -> tuple[float, list[Answered]]:
    """Sends the notes, always `concurrency` at the same time. Returns the total seconds, and when each was answered."""
    waiting, answered = iter(notes), list[Answered]()

    async def client() -> None:
        for note in waiting:
            answered.append(await suggester.suggest(kind, note, count, category=category))

    start = time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for _ in range(concurrency):
            clients.create_task(client())
    return time.perf_counter() - start, answered
