"""Section `suggestions`: what hashtags and a category cost with the service's own engine, together with the vector or by themselves."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from benchmarks.measure import Content, Spread, ratios
from benchmarks.workloads import workloads
from demo.vectors import index_sample
from notellm import Checkpoint, NoteText
from notellm.ranking import BEAMS
from notellm.trie import TokenTrie
from service.engines import usable_cores
from service.engines.threaded import in_passing_thread
from service.index import embedded_directory
from service.notes import NoteService, SuggestionOptions
from service.serving import open_service
from service.settings import Settings

TITLE = "Suggestions: what they cost"
WANTED = SuggestionOptions(3, category=True)
PEER, SUGGEST, EMBED, TWO, ONE = "transformers", "suggest", "embed", "embed, then suggest", "embed with suggest"
# Rounds by the number of notes at a time. It takes about 8 minutes on 2 cores.
ROUNDS = {1: 5, 16: 2, 64: 1}
QUICK_ROUNDS = {1: 1, 2: 1}
BATCH = 16
KINDS = ("captions", "120-token notes")
Way = Callable[[Sequence[NoteText]], Awaitable[None]]


class Peer:
    """Transformers' own beam search and greedy search, held to the same lists, in padded batches.

    Args:
        checkpoint: the checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._prompt, self._tokenizer = checkpoint.prompt(), checkpoint.tokenizer
        self._model: Any = checkpoint.load_model().causal_lm
        manifest = checkpoint.manifest
        self._hashtags, self._categories = map(self._trie, (manifest.hashtag_vocabulary, manifest.categories))

    def _trie(self, answers: Sequence[str]) -> TokenTrie:
        return TokenTrie(self._prompt.outputs(answers), self._tokenizer.eos_token_id)

    async def __call__(self, notes: Sequence[NoteText]) -> None:
        """Suggests hashtags and a category for some notes."""
        for start in range(0, len(notes), BATCH):
            # In a thread that ends, like those of the service: its OpenMP threads must not stay beside the other ways.
            await in_passing_thread(self._suggest, notes[start : start + BATCH])

    def _suggest(self, notes: Sequence[NoteText]) -> None:
        tokenized = self._prompt.tokenize(notes)
        self._search([self._prompt.hashtags(note, 1) for note in tokenized], self._hashtags, BEAMS, WANTED.count)
        self._search([self._prompt.category(note) for note in tokenized], self._categories, 1, 1)

    @torch.inference_mode()
    def _search(self, prompts: Sequence[Sequence[int]], choices: TokenTrie, beams: int, count: int) -> None:
        pad, width = self._tokenizer.pad_token_id, max(map(len, prompts))
        self._model.generation_config = GenerationConfig()  # not the base model's own penalties
        self._model.generate(
            torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in prompts]),
            attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]),
            generation_config=GenerationConfig(
                max_new_tokens=choices.longest, do_sample=False, num_beams=beams, num_return_sequences=count,
                eos_token_id=self._tokenizer.eos_token_id, pad_token_id=pad,
            ),
            prefix_allowed_tokens_fn=lambda _, ids: choices.following(ids[width:].tolist()),
        )  # fmt: skip


def measure(checkpoint: Path, *, quick: bool) -> Content:
    """See `benchmarks.speed.Section`."""
    return asyncio.run(_measure(checkpoint, QUICK_ROUNDS if quick else ROUNDS))


async def _measure(path: Path, rounds: dict[int, int]) -> Content:
    checkpoint = Checkpoint.open(path, verify="size")
    content: Content = {"threads": usable_cores(), "count": WANTED.count, "cells": []}
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings.model_validate({"checkpoint": path, "data_dir": directory, "threads": usable_cores()})
        content["stored"] = await index_sample(checkpoint, embedded_directory(settings))
        async with open_service(settings) as runtime:
            ways: dict[str, Way] = {PEER: Peer(checkpoint), **_service_ways(runtime.served.notes)}
            most = max(at_once * times for at_once, times in rounds.items())
            for kind, notes in workloads(most, most).items():
                for at_once, times in rounds.items() if kind in KINDS else ():
                    seconds = await _take_turns(ways, notes, at_once, times)
                    content["cells"].append({"notes": kind, "at_once": at_once, "seconds": seconds})
    return content


async def _take_turns(ways: dict[str, Way], notes: Sequence[NoteText], at_once: int, rounds: int) -> dict[str, list[float]]:
    """The seconds of each way in each round. All ways get the same notes, and each round has other ones."""
    names, seconds = list(ways), {name: list[float]() for name in ways}
    for number in range(rounds):
        part = notes[number * at_once : (number + 1) * at_once]
        start = number % len(names)
        for name in names[start:] + names[:start]:
            begin = time.perf_counter()
            await ways[name](part)
            seconds[name].append(time.perf_counter() - begin)
        told = ", ".join(f"{name} {at_once / taken[-1]:.2f}" for name, taken in seconds.items())
        print(f"{at_once} at a time: {told} notes/s", flush=True)
    return seconds


def _service_ways(service: NoteService) -> dict[str, Way]:
    """What clients of the service do, each of them for one note."""

    async def two(note: NoteText) -> None:
        await service.embed_texts([note])
        await service.suggest([note], WANTED)

    clients: dict[str, Callable[[NoteText], Awaitable[object]]] = {
        SUGGEST: lambda note: service.suggest([note], WANTED),
        EMBED: lambda note: service.embed_texts([note]),
        TWO: two,
        ONE: lambda note: service.embed_texts([note], suggest=WANTED),
    }

    def all_at_once(client: Callable[[NoteText], Awaitable[object]]) -> Way:
        async def run(notes: Sequence[NoteText]) -> None:
            await asyncio.gather(*map(client, notes))

        return run

    return {name: all_at_once(client) for name, client in clients.items()}


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    rows = []
    for cell in content["cells"]:
        taken, notes = cell["seconds"], cell["at_once"]
        rates = [Spread.of([notes / one for one in taken[name]]).text() for name in (SUGGEST, EMBED)]
        compared = (
            ratios(taken[PEER], taken[SUGGEST]),
            ratios(taken[SUGGEST], taken[EMBED]),
            ratios(taken[ONE], taken[TWO]),
        )
        rows.append(f"| {cell['notes']} | {notes} | {' | '.join([*rates, *(one.text() for one in compared)])} |")
    return f"""The service with its own engine (`local`) on {content["threads"]} cores, {content["stored"]:,} notes stored. Each note gets
{content["count"]} hashtags, for which stored notes count, and a category. Clients ask for one note each, all at the same time.
*Speed*: against transformers' own beam search (8 beams) for hashtags and greedy search for categories, held to the same lists, in
padded batches of up to {BATCH}; it asks no neighbours and gives no vector. *Cost*: the seconds of suggestions divided by those of
vectors of the same notes. *In one*: the seconds of requests that embed and suggest, divided by those of two requests one after the
other. All ways take turns, in each round on other notes.

| notes | at a time | suggestions, notes/s | vectors, notes/s | speed, transformers = 1 | cost | in one |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}"""


def figures(content: Content) -> dict[str, Any]:
    """See `benchmarks.speed.Section`. This section has no figures, only a table."""
    del content
    return {}
