"""The methods that a model is compared with, by their names on the command line and in reports."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from notellm.checkpoint import Checkpoint
from notellm.note import Note
from notellm.vocabulary import categories_of
from training.config import TrainingConfig
from training.data import Dataset
from training.evaluation.embedding import LoadedCheckpoint
from training.evaluation.item2vec import measure_item2vec
from training.evaluation.lexical import BM25, CharacterTfIdf, TfIdf
from training.evaluation.linear import LinearText, Terms, token_terms, word_terms
from training.evaluation.measure import measure_checkpoint, measure_embedder, measure_retriever, measure_tags
from training.evaluation.measurement import Measurement
from training.evaluation.minilm import FineTunedMiniLM, FineTuning, MiniLM
from training.evaluation.pool import TestPool
from training.evaluation.tag_baselines import MostFrequentTags, NeighbourTags, WeighedTags, WordsInText
from training.evaluation.told import Popularity, RandomWithinCategory
from training.model import InitialCheckpoint
from training.suggesting import spread
from training.waves import Wave, waves

ZERO_SHOT_SAMPLE = 60


class Baseline(StrEnum):
    """The methods that a model is compared with."""

    TFIDF = "tfidf"
    TFIDF_CHARACTERS = "tfidf-characters"
    BM25 = "bm25"
    WORDS_LINEAR = "words-linear"
    TOKENS_LINEAR = "tokens-linear"
    MINILM = "minilm"
    MINILM_FINETUNED = "minilm-finetuned"
    PROMPTEOL = "prompteol"
    PROMPTEOL_CENTRED = "prompteol-centred"
    POPULARITY = "popularity"
    ITEM2VEC = "item2vec"
    RANDOM_WITHIN_CATEGORY = "random-within-category"
    MOST_FREQUENT_TAGS = "most-frequent-tags"
    NEIGHBOUR_TAGS = "tfidf-neighbour-tags"
    WORDS_IN_TEXT = "words-in-text"
    WEIGHED_TAGS = "tfidf-evidence"


ABOUT = {
    Baseline.TFIDF: "cosine of TF-IDF vectors, document frequencies of the pool",
    Baseline.TFIDF_CHARACTERS: "the same with runs of three to five characters within words (char_wb) instead of words",
    Baseline.BM25: "Okapi BM25, the asking note's words as the query",
    Baseline.WORDS_LINEAR: "words",
    Baseline.TOKENS_LINEAR: "ids of the base model's tokens, lower-cased text",
    Baseline.MINILM: "all-MiniLM-L6-v2 as published",
    Baseline.PROMPTEOL: "the base model's hidden state, untrained (PromptEOL zero-shot)",
    Baseline.PROMPTEOL_CENTRED: f"the base model's hidden state, untrained, the mean of {ZERO_SHOT_SAMPLE} training notes subtracted",
    Baseline.POPULARITY: "the number of interactions in the whole log, which is not known for a new note",
    Baseline.RANDOM_WITHIN_CATEGORY: "a random order, notes of the asking note's category first, which it is told",
    Baseline.MOST_FREQUENT_TAGS: "the most frequent hashtags of the note's category, which it is told",
    Baseline.NEIGHBOUR_TAGS: "the hashtags of the ten training notes with the nearest words (TF-IDF)",
    Baseline.WORDS_IN_TEXT: "the hashtags whose words the note has, the most frequent first",
    Baseline.WEIGHED_TAGS: "votes of the 50 training notes with the nearest words (TF-IDF), words of the text and frequency, weighed as "
    "with the index but without a language model",
}


def measure_baseline(
    one: Baseline, settings: TrainingConfig, dataset: Dataset, pool: TestPool, generated_notes: int
) -> Measurement:
    """Learns from the training part what the baseline has to learn, and measures it on the pool.

    Args:
        one: the baseline.
        settings: the run that it is compared with.
        dataset: the run's data.
        pool: the test notes of these data.
        generated_notes: number of notes whose hashtags and categories are generated.
    """
    if one in (Baseline.PROMPTEOL, Baseline.PROMPTEOL_CENTRED):
        with _zero_shot(one, settings, pool) as checkpoint:
            loaded = LoadedCheckpoint(one, checkpoint)
            return measure_checkpoint(
                loaded, ABOUT[one], pool, generated_notes=generated_notes, categories=checkpoint.manifest.categories
            )
    measures: dict[Baseline, Callable[[], Measurement]] = {
        Baseline.TFIDF: lambda: measure_retriever(TfIdf(pool.notes), ABOUT[one], pool),
        Baseline.TFIDF_CHARACTERS: lambda: measure_retriever(CharacterTfIdf(pool.notes), ABOUT[one], pool),
        Baseline.BM25: lambda: measure_retriever(BM25(pool.notes), ABOUT[one], pool),
        Baseline.WORDS_LINEAR: lambda: _linear(one, word_terms, settings, dataset, pool),
        Baseline.TOKENS_LINEAR: lambda: _linear(one, token_terms(settings.model.base), settings, dataset, pool),
        Baseline.MINILM: lambda: measure_embedder(MiniLM(), ABOUT[one], pool),
        Baseline.MINILM_FINETUNED: lambda: _fine_tuned(settings, dataset, pool),
        Baseline.POPULARITY: lambda: measure_retriever(Popularity(pool), ABOUT[one], pool),
        Baseline.ITEM2VEC: lambda: measure_item2vec(settings.data, dataset, pool, settings.model.dimensions),
        Baseline.RANDOM_WITHIN_CATEGORY: lambda: measure_retriever(RandomWithinCategory(pool), ABOUT[one], pool),
        Baseline.MOST_FREQUENT_TAGS: lambda: measure_tags(MostFrequentTags, ABOUT[one], pool, generated_notes),
        Baseline.NEIGHBOUR_TAGS: lambda: measure_tags(NeighbourTags, ABOUT[one], pool, generated_notes),
        Baseline.WORDS_IN_TEXT: lambda: measure_tags(WordsInText, ABOUT[one], pool, generated_notes),
        Baseline.WEIGHED_TAGS: lambda: measure_tags(_weighed(settings, dataset, pool), ABOUT[one], pool, generated_notes),
    }
    return measures[one]()


def _weighed(settings: TrainingConfig, dataset: Dataset, pool: TestPool) -> Callable[[Sequence[Note]], WeighedTags]:
    validation = [dataset.notes[note] for note in dataset.split.in_order("validation")]
    judges = tuple(spread([note for note in validation if note.all_hashtags], settings.validation.hashtag_notes))
    parts = waves(validation, {note.id for note in judges}) if dataset.split.order else [Wave(judges, ())]
    weights = WeighedTags.fit(pool.training, parts)
    return lambda stored: WeighedTags(stored, weights)


def _linear(one: Baseline, terms: Terms, settings: TrainingConfig, dataset: Dataset, pool: TestPool) -> Measurement:
    method = LinearText(one, terms, dataset, settings.model.dimensions)
    return measure_embedder(method, f"{ABOUT[one]}: {method.about}", pool)


def _fine_tuned(settings: TrainingConfig, dataset: Dataset, pool: TestPool) -> Measurement:
    """MiniLM, fine-tuned on the run's pairs with the run's epochs, batch size and precision."""
    examples = settings.examples
    tuning = FineTuning(
        epochs=examples.epochs, max_pairs=examples.max_pairs, pairs_per_batch=examples.pairs_per_batch,
        precision=settings.compute.precision,
    )  # fmt: skip
    method = FineTunedMiniLM(dataset, tuning)
    measured = measure_embedder(method, "", pool)
    return measured.model_copy(update={"about": method.about})


@contextmanager
def _zero_shot(one: Baseline, settings: TrainingConfig, pool: TestPool) -> Iterator[Checkpoint]:
    """The untrained base model with the run's prompt and without a trained projection."""
    centred = one is Baseline.PROMPTEOL_CENTRED
    sample: Sequence[Note] = pool.training[:: -(-len(pool.training) // ZERO_SHOT_SAMPLE)] if centred else ()
    categories = categories_of(pool.training)
    with tempfile.TemporaryDirectory() as directory:
        initial = InitialCheckpoint(
            base=settings.model.base, output=Path(directory) / "checkpoint", name=one, notes=sample, categories=categories,
            prompt=settings.model.prompt,
        )  # fmt: skip
        yield initial.make()
