"""SmolLM2-135M end to end: ids, vectors, neighbours, hashtags."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from notellm import Checkpoint, Note, NoteEncoder, NoteLLM, NotePrompt, NoteText, PromptSettings
from notellm.encoder import TOLERANCE
from notellm.hashtags import choice_pattern, clean_hashtag_list, hashtag_list_pattern
from notellm.ranking import ChoiceRanker
from notellm.vocabulary import HashtagVocabulary
from service.engines import GenerationRequest, LocalEngine
from training.config import TrainingConfig
from training.data.splits import Split, split_by_notes
from training.evaluation.hashtags import score_hashtags
from training.evaluation.tag_baselines import MostFrequentTags

from .conftest import ROOT

pytestmark = pytest.mark.integration
CHINESE = NoteText(title="周末在家做冷萃咖啡", content="冷水浸泡十二小时，第二天喝 #咖啡")


def test_golden_ids(smollm2: Checkpoint) -> None:
    prompt = smollm2.prompt()
    ids = prompt.embedding(prompt.tokenize([NoteText(title="Cold brew", content="你好 <|im_end|>", hashtags=("coffee",))])[0])
    assert ids == GOLDEN_EN
    chinese = NotePrompt(smollm2.tokenizer, smollm2.manifest.emb_token_id, PromptSettings(version="paper-zh"))
    assert chinese.hashtags(chinese.tokenize([NoteText(title="咖啡")])[0], 2) == GOLDEN_ZH


# fmt: off
GOLDEN_EN = [
    1, 34683, 260, 4109, 1096, 281, 7221, 4624, 28, 16424, 357, 618, 582, 2229, 327, 12185, 28, 284,
    5051, 260, 6881, 282, 260, 4109, 30, 7353, 7260, 1539, 12148, 25456, 28, 637, 18879, 1539, 6728, 28,
    637, 7070, 1539, 216, 18645, 250, 48392, 138, 2067, 108, 306, 79, 486, 108, 46, 19181, 378, 13467,
    2229, 314, 25898,
]
GOLDEN_ZH = [
    1, 40562, 238, 22081, 125, 24713, 39428, 46781, 39084, 242, 25535, 176, 236, 240, 176, 239, 111, 14460,
    33031, 223, 18310, 134, 25535, 23597, 12831, 44652, 229, 178, 137, 119, 28660, 43340, 16313, 231, 24713, 1585,
    49152, 573, 19076, 43293, 35094, 40562, 238, 22081, 125, 34, 26951, 16313, 247, 39084, 242, 24713,
]
# fmt: on


def test_vectors_equal_the_plain_forward_pass(
    smollm2: Checkpoint, model: NoteLLM, encoder: NoteEncoder, fixed_sample: list[Note]
) -> None:
    prompt = smollm2.prompt()
    prompts = [prompt.embedding(note) for note in prompt.tokenize([*fixed_sample[::12], CHINESE, NoteText(title="x")])]
    with torch.inference_mode():
        reference = torch.stack([model(torch.tensor(ids)) for ids in prompts]).numpy()
    together = encoder.encode(prompts)
    assert np.abs(together - reference).max() <= TOLERANCE
    for position in (0, len(prompts) - 1):
        assert np.abs(encoder.encode([prompts[position]])[0] - reference[position]).max() <= TOLERANCE
    assert np.abs(encoder.encode(prompts[::-1])[::-1] - reference).max() <= TOLERANCE


def test_the_check_notices_positions_shifted_by_one(smollm2: Checkpoint, model: NoteLLM, fixed_sample: list[Note]) -> None:
    prompt = smollm2.prompt()
    ids = prompt.embedding(prompt.tokenize(fixed_sample[:1])[0])
    with torch.inference_mode():
        reference = model(torch.tensor(ids)).numpy()
    encoder = NoteEncoder(model, prompt.embedding_prefix)
    assert encoder.packed
    forward = encoder._states
    encoder._states = lambda pack: forward(replace(pack, position_ids=pack.position_ids + 1))
    assert np.abs(encoder.encode([ids])[0] - reference).max() > 10 * TOLERANCE


def test_sentence_transformers_gives_the_same_vectors(
    smollm2: Checkpoint, encoder: NoteEncoder, fixed_sample: list[Note]
) -> None:
    from sentence_transformers import SentenceTransformer

    prompt = smollm2.prompt()
    prompts = [prompt.embedding(note) for note in prompt.tokenize([*fixed_sample[::40], CHINESE])]
    outside = SentenceTransformer(
        str(smollm2.path),
        device="cpu",
        local_files_only=True,
        trust_remote_code=True,  # NoteHead is a class of this project
        model_kwargs={"dtype": torch.float32},
    )
    for ids, expected in zip(prompts, encoder.encode(prompts), strict=True):
        batch = torch.tensor([ids])
        with torch.inference_mode():
            theirs = outside({"input_ids": batch, "attention_mask": torch.ones_like(batch)})["sentence_embedding"][0].numpy()
        np.testing.assert_allclose(theirs, expected, atol=1e-5)


def same_site_share(vectors: npt.NDArray[np.float32], sites: list[str], neighbours: int = 10) -> dict[str, float]:
    """For each site: of its notes' nearest neighbours, the share that is from the same site."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1)[:, :neighbours]
    same = (np.array(sites)[nearest] == np.array(sites)[:, None]).mean(1)
    return {site: float(same[np.array(sites) == site].mean()) for site in sorted(set(sites))}


@pytest.fixture(scope="module")
def split(notes: list[Note]) -> Split:
    """That of the demo's training run."""
    config = TrainingConfig.load(ROOT / "training" / "configs" / "smollm2-135m-stackexchange.yaml")
    return split_by_notes([note.id for note in notes], config.data.split)


def unseen_notes(notes: list[Note], split: Split, sites: Sequence[str], count: int) -> list[Note]:
    """The first `count` test notes of each site."""
    by_site = [[note for note in notes if note.category == site and note.id in split.test] for site in sites]
    return [note for site in by_site for note in site[:count]]


@pytest.mark.slow("hundreds of notes through the real model")
def test_neighbours_of_unseen_notes_come_from_the_same_site(
    smollm2: Checkpoint, encoder: NoteEncoder, notes: list[Note], split: Split
) -> None:
    """Twenty notes of each site that training has not seen, hashtags blanked, no filter; by chance it would be 0.19."""
    sample = unseen_notes(notes, split, smollm2.manifest.categories, 20)
    assert len(sample) == 100
    prompt = smollm2.prompt()
    blanked = [NoteText(title=note.plain_title, content=note.plain_content) for note in sample]
    vectors = encoder.encode([prompt.embedding(note) for note in prompt.tokenize(blanked)])
    shares = same_site_share(vectors, [note.category or "" for note in sample])
    assert len(shares) == 5
    assert sum(shares.values()) / 5 >= 0.85, shares


@pytest.mark.slow("hundreds of notes through the real model")
def test_ranked_hashtags_of_unseen_notes_beat_the_most_frequent_ones_of_their_site(
    smollm2: Checkpoint, model: NoteLLM, notes: list[Note], split: Split
) -> None:
    """Eight notes of each site; docs/results/stackexchange has the figures of all."""
    sample = unseen_notes(notes, split, smollm2.manifest.categories, 8)
    prompt, ranker = smollm2.prompt(), ChoiceRanker(model.layers)
    vocabulary = HashtagVocabulary(prompt, smollm2.manifest.hashtag_vocabulary)
    prompts = [prompt.hashtags(note, 1) for note in prompt.tokenize(sample)]
    ranked = [vocabulary.suggestions(ranker.rank(ids, vocabulary.choices, 3)) for ids in prompts]
    frequent = MostFrequentTags([note for note in notes if note.id in split.train]).predict(sample, 3)
    own = [note.all_hashtags for note in sample]
    ours, theirs = (
        np.mean(score_hashtags(predicted, own).metrics["f1@3"])
        for predicted in ([[one.hashtag for one in tags] for tags in ranked], frequent)
    )
    assert ours > 1.5 * theirs > 0, (ours, theirs)


@pytest.fixture(scope="module")
def engine(smollm2: Checkpoint) -> LocalEngine:
    return LocalEngine(smollm2, smollm2.prompt(), max_batch_tokens=2048, threads=None)


@pytest.mark.slow("hundreds of notes through the real model")
def test_hashtags_and_categories_are_clean_and_do_not_depend_on_the_batch(
    smollm2: Checkpoint, engine: LocalEngine, fixed_sample: list[Note]
) -> None:
    prompt = smollm2.prompt()
    notes = prompt.tokenize([fixed_sample[0], fixed_sample[50], CHINESE])
    listing = hashtag_list_pattern(3, lead=" ", separator=", ")
    choice = choice_pattern(smollm2.manifest.categories, lead=" ")
    requests = [GenerationRequest(tuple(prompt.hashtags(note, 3)), listing, 24, bare_spaces=False) for note in notes[:2]]
    requests += [GenerationRequest(tuple(prompt.hashtags(notes[2], 3)), listing, 24)]
    requests += [GenerationRequest(tuple(prompt.category(note)), choice, 64) for note in notes]
    together = engine.generate(requests)
    for request, generation in zip(requests, together, strict=True):
        alone = engine.generate([request])[0]
        assert alone.text == generation.text
        assert [piece.probability for piece in alone.pieces] == pytest.approx(
            [p.probability for p in generation.pieces], abs=1e-3
        )
    for generation in together[:2]:
        assert clean_hashtag_list(generation.pieces, count=3, finished=generation.finished)
        assert len(generation.pieces) <= 24
    for generation in together[3:]:
        assert generation.text.strip() in smollm2.manifest.categories
        assert 0 < math.prod(piece.probability for piece in generation.pieces) <= 1
