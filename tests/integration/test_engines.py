"""The same request gives the same answer from every engine: this process, one vLLM for everything, and a remote `vllm serve`.

Real weights, real vLLM on a CPU. Each is started once, since that takes most of a minute.
"""

import asyncio
import gc
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch

from harness.vllm_server import VllmServer, vllm_server
from notellm import Checkpoint, Note, NoteText
from notellm.evidence import EvidenceWeights
from notellm.hashtag_use import HashtagUse
from notellm.hashtags import HashtagRules, choice_pattern, hashtag_list_pattern
from notellm.saving import CheckpointFacts, save_checkpoint
from notellm.token_vectors import TokenTerms, TokenVectors
from notellm.trie import TokenTrie
from service.engines import Generation, GenerationRequest, LocalEngine, RankingRequest, remote as remote_module
from service.engines.completions import CompletionsClient
from service.engines.remote import RemoteEngine
from service.engines.vllm import ALL_STEPS, VllmEngine
from service.engines.vllm_process import VllmOptions
from service.engines.vllm_worker import MOST_VOCABULARIES
from service.errors import StartupError
from service.notes import SuggestionOptions, SuggestionPrompts
from tests.clock import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow("starts vLLM"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("vllm"),
    # What importing vLLM warns of, in its own code and what it imports.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

CHINESE = NoteText(title="周末在家做冷萃咖啡", content="豆子要磨粗一点，泡十二个小时。")
OPTIONS = VllmOptions(cache_bytes=256 * 2**20, lanes=16, threads=2)
PARITY = 1e-4
STALL_SECONDS = 0.25


@pytest.fixture(scope="module")
def smollm2(smollm2: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The demo's weights with random token vectors: every engine must add them, and `vllm serve` must not mind them."""
    model, tokenizer, manifest = smollm2.load_model(), smollm2.tokenizer, smollm2.manifest
    rows, random = int(model.causal_lm.config.vocab_size), np.random.default_rng(0)
    terms = TokenTerms(np.arange(rows), random.uniform(1, 9, rows).astype(np.float32), smollm2.prompt().frame)
    model.tokens = TokenVectors(terms, torch.from_numpy(random.normal(size=(rows, manifest.dimensions))))
    facts = CheckpointFacts.model_validate(manifest.model_dump(include=set(CheckpointFacts.model_fields)))
    return save_checkpoint(tmp_path_factory.mktemp("with-tokens") / "checkpoint", model, tokenizer, facts)


@pytest.fixture(scope="module")
def local(smollm2: Checkpoint) -> LocalEngine:
    return LocalEngine(smollm2, smollm2.prompt(), max_batch_tokens=2048, threads=None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vllm(smollm2: Checkpoint) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(smollm2, smollm2.prompt(), OPTIONS, max_batch_tokens=2048, stall_seconds=STALL_SECONDS)
    await engine.open()
    yield engine
    await engine.close()
    # What it left open would be warned of whenever it is collected, in some later test.
    del engine
    gc.collect()


@pytest.fixture(scope="module")
def server(smollm2: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    with vllm_server(smollm2.path, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def remote(smollm2: Checkpoint, local: LocalEngine, server: VllmServer) -> AsyncIterator[RemoteEngine]:
    client = CompletionsClient(server.url, None, timeout_seconds=60, connections=64)
    engine = RemoteEngine(smollm2, smollm2.prompt(), local, client, lanes=16)
    await engine.open(None)
    yield engine
    await engine.close()


@pytest.fixture(scope="module")
def asked(fixed_sample: list[Note]) -> list[NoteText]:
    return [*fixed_sample[::20], CHINESE, NoteText(title="<|im_end|> [EMB] </s>", content="x")]


@pytest.fixture(scope="module")
def generations(smollm2: Checkpoint, asked: list[NoteText]) -> list[GenerationRequest]:
    prompt = smollm2.prompt()
    categories = choice_pattern(smollm2.manifest.categories, lead=" ")
    listing = hashtag_list_pattern(3, lead=" ", separator=", ")
    tokenized = prompt.tokenize(asked)
    chosen = [GenerationRequest(tuple(prompt.category(note)), categories, 64, bare_spaces=False) for note in tokenized]
    listed = [GenerationRequest(tuple(prompt.hashtags(note, 3)), listing, 24, bare_spaces=False) for note in tokenized]
    return [*chosen, *listed, replace(listed[0], bare_spaces=True), replace(listed[0], max_new_tokens=2)]


@pytest.fixture(scope="module")
def generated(local: LocalEngine, generations: list[GenerationRequest]) -> list[Generation]:
    return local.generate(generations)


@pytest.fixture(scope="module")
def rankings(smollm2: Checkpoint, asked: list[NoteText]) -> list[RankingRequest]:
    prompt = smollm2.prompt()
    weights = EvidenceWeights(
        temperature=0.1, intercept=0, weights=(1, 1, 1, 1, 1, 1)
    )  # then the requests ask for vectors as well
    manifest = smollm2.manifest.model_copy(update={"hashtag_evidence": weights})
    service = SuggestionPrompts(manifest, prompt, vocabulary=10_000, rules=HashtagRules())
    service.learn(HashtagUse.of_spellings({"unheard-of": 5}, notes=1000))
    return service.ask(asked, prompt.tokenize(asked), SuggestionOptions(5, category=True)).rankings


async def test_greedy_hashtags_and_categories_are_those_of_the_local_engine(
    vllm: VllmEngine, remote: RemoteEngine, smollm2: Checkpoint, generations: list[GenerationRequest],
    generated: list[Generation], asked: list[NoteText],
) -> None:  # fmt: skip
    for engine in (vllm, remote):
        answers = await engine.generate(generations)
        for answer, expected in zip(answers, generated, strict=True):
            assert (answer.text, answer.finished) == (expected.text, expected.finished), engine.name
            assert [piece.probability for piece in answer.pieces] == pytest.approx(
                [piece.probability for piece in expected.pieces], abs=1e-3
            )
        assert all(answer.text.strip() in smollm2.manifest.categories for answer in answers[: len(asked)])
        assert not answers[-1].finished
        assert len(answers[-1].pieces) == 2


async def test_ranked_hashtags_and_categories_are_those_of_the_local_engine(
    vllm: VllmEngine, remote: RemoteEngine, local: LocalEngine, rankings: list[RankingRequest]
) -> None:
    ranked = local.rank(rankings)
    for engine in (vllm, remote):
        for answer, expected in zip(await engine.rank(rankings), ranked, strict=True):
            assert [choice.ids for choice in answer.choices] == [choice.ids for choice in expected.choices], engine.name
            assert [choice.log_probability for choice in answer.choices] == pytest.approx(
                [choice.log_probability for choice in expected.choices], abs=1e-3
            )
            assert (answer.vector is None) == (expected.vector is None)
            if answer.vector is not None and expected.vector is not None:
                assert np.abs(answer.vector - expected.vector).max() <= PARITY
    embedding = [one.embedding for one in rankings if one.embedding]
    assert len(embedding) == len(rankings) // 2
    vectors = [one.vector for one in ranked if one.vector is not None]
    assert np.abs(np.stack(vectors) - local.embed(embedding)).max() <= PARITY
    # The root of the trie has more branches than one request can ask for.
    assert 128 < len(rankings[0].choices.following(())) <= 128 * remote_module.MOST_REQUESTS


async def test_choices_that_the_worker_has_dropped_are_sent_again(vllm: VllmEngine, rankings: list[RankingRequest]) -> None:
    category = rankings[-1]
    (before,) = await vllm.rank([category])
    sequences, end = category.choices.sequences, category.choices.eos_token_id
    for _ in range(MOST_VOCABULARIES + 1):
        await vllm.rank([replace(category, choices=TokenTrie(sequences, end))])
    (after,) = await vllm.rank([category])
    assert [choice.ids for choice in after.choices] == [choice.ids for choice in before.choices]


async def test_where_very_many_tokens_may_follow_the_likeliest_of_all_are_asked_for(
    remote: RemoteEngine, local: LocalEngine, rankings: list[RankingRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One note after another, and beside each other, where vLLM 0.32 loses answers."""
    monkeypatch.setattr(remote_module, "MOST_REQUESTS", 1)
    ranked = local.rank(rankings)
    found: list[bool] = []
    among = remote._among_the_likeliest

    async def watched(*arguments: Any) -> Any:
        found.append((best := await among(*arguments)) is not None)
        return best

    monkeypatch.setattr(remote, "_among_the_likeliest", watched)
    alone = [(await remote.rank([request]))[0] for request in rankings]
    assert any(found)
    for answers in (alone, await remote.rank(rankings)):
        assert [[choice.ids for choice in answer.choices] for answer in answers] == [
            [choice.ids for choice in expected.choices] for expected in ranked
        ]


async def test_vectors_of_the_vllm_worker_are_those_of_the_local_engine_while_it_generates(
    smollm2: Checkpoint, local: LocalEngine, vllm: VllmEngine, fixed_sample: list[Note], generations: list[GenerationRequest]
) -> None:
    prompt = smollm2.prompt()
    prompts = [prompt.embedding(note) for note in prompt.tokenize([*fixed_sample[::6], CHINESE, NoteText(title="x")])]
    generating = asyncio.create_task(vllm.generate(generations))
    await until(lambda: vllm._generating > 0)
    portions: list[int] = []
    portion_tokens = vllm._portion_tokens

    def watched() -> int:
        portions.append(portion_tokens())
        return portions[-1]

    vllm._portion_tokens = watched  # type: ignore[method-assign]
    vectors = await vllm.embed(prompts)
    assert not generating.done()
    await generating
    assert np.abs(vectors - local.embed(prompts)).max() <= PARITY
    # The first call knows no rate yet; then portions are as short as the stall allows, and never less than a note. A machine may be
    # so fast that it allows for whole ones.
    assert min(portions[1:]) < 2048 or vllm._rate.seconds(2048) <= STALL_SECONDS
    again = await vllm.embed(prompts)
    assert vllm._portion_tokens() == 2048
    assert np.abs(again - vectors).max() <= 1e-5
    one_shorter = await vllm.embed([ids[:-1] for ids in prompts])
    assert np.abs(one_shorter - vectors).max(axis=1).min() > 100 * PARITY


async def test_a_ranking_lets_generation_go_on_between_its_steps(
    local: LocalEngine, vllm: VllmEngine, generations: list[GenerationRequest], rankings: list[RankingRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    steps: list[int] = []
    ask = vllm._ask

    async def watched(method: str, *arguments: Any) -> Any:
        if method == "notellm_go_on_ranking":
            steps.append(arguments[1])
        return await ask(method, *arguments)

    monkeypatch.setattr(vllm, "_ask", watched)
    alone = await vllm.rank(rankings[:1])
    assert steps == [ALL_STEPS]  # nobody is held up
    long = replace(generations[-1], pattern=r"(?: [a-z]+){200,}", max_new_tokens=200)
    generating = asyncio.create_task(vllm.generate([long]))
    while not vllm._generating:
        await asyncio.sleep(0.01)
    steps.clear()
    beside = await vllm.rank(rankings[:1])
    assert not generating.done()
    generating.cancel()
    assert len(steps) > 1
    assert set(steps) == {1}
    (expected,) = local.rank(rankings[:1])
    for (answer,) in (alone, beside):
        assert [choice.ids for choice in answer.choices] == [choice.ids for choice in expected.choices]


async def test_a_note_that_fails_fails_alone(smollm2: Checkpoint, vllm: VllmEngine) -> None:
    prompt = smollm2.prompt()
    good = prompt.embedding(prompt.tokenize([CHINESE])[0])
    with pytest.raises(Exception, match="must start with"):
        await vllm.embed([good[1:]])
    assert (await vllm.embed([good])).shape == (1, smollm2.manifest.dimensions)


async def test_a_cancelled_generation_leaves_vllm(vllm: VllmEngine, generations: list[GenerationRequest]) -> None:
    long = replace(generations[-1], pattern=r"(?: [a-z]+){200,}", max_new_tokens=200)
    generating = asyncio.create_task(vllm.generate([long]))
    llm = vllm._supervisor.get()
    while not llm.output_processor.get_num_unfinished_requests():
        await asyncio.sleep(0.01)
    generating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await generating
    await until(lambda: not llm.output_processor.get_num_unfinished_requests())
    assert vllm._generating == 0


async def test_the_prompts_of_a_note_share_their_beginning_in_vllms_cache(
    vllm: VllmEngine, smollm2: Checkpoint, fixed_sample: list[Note]
) -> None:
    import vllm as library

    prompt = smollm2.prompt()
    ids = prompt.category(prompt.tokenize([max(fixed_sample, key=lambda note: len(note.plain_content))])[0])
    llm, cached = vllm._supervisor.get(), 0
    for number in range(2):
        once = library.SamplingParams(temperature=0, max_tokens=1)
        async for output in llm.generate({"prompt_token_ids": ids}, once, request_id=f"cache-{number}"):
            cached = output.num_cached_tokens
    # All whole blocks of 32 but the last, of which a token has to be computed.
    assert cached >= 32 * ((len(ids) - 1) // 32) >= 64


async def test_a_server_with_another_model_is_refused(
    smollm2: Checkpoint, local: LocalEngine, server: VllmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = CompletionsClient(server.url, None, timeout_seconds=60, connections=4)
    engine = RemoteEngine(smollm2, smollm2.prompt(), local, client, lanes=4)
    monkeypatch.setattr(local, "log_probabilities", lambda prompt, tokens: [math.log(0.2)] * len(tokens))
    with pytest.raises(StartupError, match=r"is not the model of .*: start the server with that checkpoint"):
        await engine.open(None)
    with pytest.raises(StartupError, match="does not have other; it has notellm"):
        await engine.open("other")
    await engine.close()


async def test_a_checkpoint_that_vllm_computes_differently_is_refused(
    vllm: VllmEngine, smollm2: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check that stands before the work, on the running engine: once as it is, once with a worker that is a little off."""
    import vllm as library

    from service.engines import vllm_process

    llm = vllm._supervisor.get()
    await vllm_process._self_check(library, llm, smollm2.prompt(), "float32")
    rpc = vllm_process.rpc

    async def off(*arguments: object) -> object:
        return [value + 0.01 for value in await rpc(*arguments)]  # type: ignore[arg-type]

    monkeypatch.setattr(vllm_process, "rpc", off)
    with pytest.raises(StartupError, match=r"differs from vLLM's own by 0\.01"):
        await vllm_process._self_check(library, llm, smollm2.prompt(), "float32")


async def test_another_release_of_vllm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import vllm as library

    from service.engines.vllm_process import import_vllm

    monkeypatch.setattr(library, "__version__", "0.99.0")
    with pytest.raises(StartupError, match=r"vLLM 0\.99\.0 was not tested .*NOTELLM_VLLM_UNTESTED"):
        import_vllm(OPTIONS)
    assert import_vllm(replace(OPTIONS, untested=True)) is library
