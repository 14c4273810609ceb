"""`StoredNotes`: what speaks for the hashtags of new notes if some notes are stored. `fit_evidence`: how much each source counts."""

import copy
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from notellm.encoder import NoteEncoder
from notellm.evidence import FEATURES, MOST_FOUND, NEIGHBOURS, Candidate, Evidence, EvidenceWeights, NeighbourNote
from notellm.hashtag_use import MIN_USES, HashtagUse
from notellm.hashtags import HashtagSuggestion
from notellm.model import NoteLLM
from notellm.note import Note, hashtag_key
from notellm.prompt import NotePrompt
from notellm.ranking import ChoiceRanker, ChoiceSearch
from notellm.vocabulary import HashtagVocabulary
from training.waves import Wave

logger = logging.getLogger(__name__)
TEMPERATURES = (0.03, 0.05, 0.1, 0.2)
# Fewer notes with hashtags cannot tell how much each source counts.
LEAST_NOTES = 30
_FOLDS = 5
_BATCH = 16


class EvidenceSource(Protocol):
    """Collects what speaks for the hashtags of new notes."""

    def evidence(self, notes: Sequence[Note]) -> list[Evidence]:
        """What speaks for the hashtags of new notes. Of the notes, only title and content are read, which must not both be empty."""
        ...

    def candidates(self, evidence: Evidence, temperature: float) -> list[Candidate]:
        """The hashtags that may be suggested; see `Evidence.candidates`."""
        ...


# A candidate: the number of its note, its features, and whether it is right.
_Row = tuple[int, tuple[float, ...], bool]
Asked = tuple[EvidenceSource, Sequence[Note]]


class StoredNotes:
    """Notes whose hashtags speak for those of new notes, as in a service that has stored them.

    Args:
        model: embeds notes and ranks hashtags.
        prompt: the prompt builder of the model.
        notes: the stored notes, with their hashtags.
    """

    def __init__(self, model: NoteLLM, prompt: NotePrompt, notes: Sequence[Note]) -> None:
        self.use = HashtagUse.of_notes(notes)
        self._listed = self.use.counts.keys()
        self._prompt = prompt
        self._notes = notes
        self._encoder = NoteEncoder(model, prompt.embedding_prefix)
        self._ranker = ChoiceRanker(model.layers)
        self._vocabulary = HashtagVocabulary(prompt, self.use.hashtags)
        self._vectors = self._embed(notes)

    def with_more(self, notes: Sequence[Note]) -> "StoredNotes":
        """The same after more notes were stored. A hashtag that only these have may be suggested once it has `MIN_USES` notes."""
        grown = copy.copy(self)
        grown._notes = [*self._notes, *notes]
        grown.use = HashtagUse.of_notes(grown._notes)
        known = [tag for key, tag in zip(grown.use.counts, grown.use.hashtags, strict=True) if self._is_known(key, grown.use)]
        grown._vocabulary = HashtagVocabulary(self._prompt, known, earlier=self._vocabulary)
        grown._vectors = np.concatenate([self._vectors, self._embed(notes)]) if notes else self._vectors
        return grown

    def _is_known(self, key: str, use: HashtagUse) -> bool:
        return key in self._listed or use.counts[key] >= MIN_USES

    def evidence(self, notes: Sequence[Note]) -> list[Evidence]:
        """See `EvidenceSource.evidence`."""
        notes = [bare for note in notes if (bare := without_hashtags(note))]
        found = self._found(notes)
        cosines = self._embed(notes) @ self._vectors.T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
        return [
            Evidence(note.plain_text, ranked, [as_neighbour(self._notes[place], row[place]) for place in places])
            for note, ranked, places, row in zip(notes, found, nearest, cosines, strict=True)
        ]

    def candidates(self, evidence: Evidence, temperature: float) -> list[Candidate]:
        """See `EvidenceSource.candidates`. Hashtags of stored notes may be suggested."""
        return evidence.candidates(self.use, self._vocabulary.spelling, temperature)

    def _embed(self, notes: Sequence[Note]) -> npt.NDArray[np.float32]:
        return self._encoder.encode([self._prompt.embedding(note) for note in self._prompt.tokenize(notes)])

    def _found(self, notes: Sequence[Note]) -> list[list[HashtagSuggestion]]:
        """The hashtags that the model finds likeliest for each note."""
        prompts = [self._prompt.hashtags(note, 1) for note in self._prompt.tokenize(notes)]
        searches = [ChoiceSearch(self._vocabulary.choices, MOST_FOUND) for _ in prompts]
        for start in range(0, len(prompts), _BATCH):
            self._ranker.run(prompts[start : start + _BATCH], searches[start : start + _BATCH])
        return [self._vocabulary.suggestions(search.found) for search in searches]


def growing(start: StoredNotes, parts: Iterable[Wave]) -> Iterator[Asked]:
    """What each wave asks about, with all that is stored by then. Notes without hashtags have nothing to tell."""
    stored, count = start, 0
    for part in parts:
        new = [note for note in part.arrived[count:] if note.all_hashtags]
        stored, count = stored.with_more(new), len(part.arrived)
        yield stored, part.asking


def fit_evidence(asked: Iterable[Asked]) -> EvidenceWeights | None:
    """Learns how much each source counts, from notes that neither the model nor the stored notes contain.

    The temperature is that of `TEMPERATURES` with the best likelihood in a cross-validation over the notes.

    Args:
        asked: stored notes, and the notes that are asked about while these are stored. Notes without hashtags, and those that are nothing
            but hashtags, do not count.

    Returns:
        The weights; None if fewer than `LEAST_NOTES` notes count, or if no candidate or every candidate is right.
    """
    rows: dict[float, list[_Row]] = {temperature: [] for temperature in TEMPERATURES}
    judged = 0
    for stored, notes in asked:  # one after another: stored notes take memory
        kept = [note for note in notes if note.all_hashtags and without_hashtags(note)]
        for note, evidence in zip(kept, stored.evidence(kept), strict=True):
            wanted = set(map(hashtag_key, note.all_hashtags))
            for temperature, own in rows.items():
                candidates = stored.candidates(evidence, temperature)
                own += [(judged, one.features, hashtag_key(one.hashtag) in wanted) for one in candidates]
            judged += 1
    if judged < LEAST_NOTES:
        return None
    fits = [_Fit(own, temperature) for temperature, own in rows.items()]
    usable = [fit for fit in fits if fit.is_usable]
    if not usable:
        return None
    losses = [fit.loss() for fit in usable]
    for fit, loss in zip(usable, losses, strict=True):
        logger.info("hashtags: temperature %g of votes: log-loss %.4f of held-out candidates", fit.temperature, loss)
    return usable[int(np.argmin(losses))].weights()


def suggested_hashtags(
    stored: EvidenceSource, weights: EvidenceWeights, notes: Sequence[Note], count: int
) -> list[list[HashtagSuggestion]]:
    """The `count` most probable hashtags of each note, best first; see `EvidenceSource.evidence`."""
    return [weights.suggestions(stored.candidates(one, weights.temperature), count) for one in stored.evidence(notes)]


class _Fit:
    """A logistic regression over the candidates of all notes, for one temperature."""

    def __init__(self, rows: Sequence[_Row], temperature: float) -> None:
        self.temperature = temperature
        self._notes = np.array([place for place, _, _ in rows], dtype=np.int64)
        self._features = np.array([features for _, features, _ in rows], dtype=np.float64).reshape(-1, len(FEATURES))
        self._right = np.array([right for _, _, right in rows], dtype=bool)

    @property
    def is_usable(self) -> bool:
        """Whether each fold's other notes have both right and wrong candidates."""
        return all(len(set(self._right[self._notes % _FOLDS != fold])) > 1 for fold in range(_FOLDS))

    def loss(self) -> float:
        """The mean log-loss of the candidates of notes that were left out of the fit."""
        chances = np.empty(len(self._right))
        for fold in range(_FOLDS):
            out = self._notes % _FOLDS == fold
            intercept, weights = self._solve(~out)
            chances[out] = 1 / (1 + np.exp(-(intercept + self._features[out] @ weights)))
        return float(-np.log(np.clip(np.where(self._right, chances, 1 - chances), 1e-12, 1)).mean())

    def weights(self) -> EvidenceWeights:
        """The weights of a fit to all notes."""
        intercept, weights = self._solve(np.ones(len(self._right), dtype=bool))
        return EvidenceWeights(temperature=self.temperature, intercept=intercept, weights=tuple(map(float, weights)))

    def _solve(self, chosen: npt.NDArray[np.bool_]) -> tuple[float, npt.NDArray[np.float64]]:
        """Intercept and weights of the features as they are. The fit itself scales them, since its penalty treats all alike."""
        features = self._features[chosen]
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        deviation[deviation == 0] = 1
        fitted = LogisticRegression(max_iter=1000).fit((features - mean) / deviation, self._right[chosen])
        weights = fitted.coef_[0] / deviation
        return float(fitted.intercept_[0] - weights @ mean), weights


def spread(notes: Sequence[Note], most: int) -> list[Note]:
    """At most `most` of the notes, spread evenly over them."""
    if most == 0:
        return []
    return list(notes[:: max(1, -(-len(notes) // most))])


def without_hashtags(note: Note) -> Note | None:
    """The note without given and inline hashtags; None if no other text is left."""
    title, content = note.plain_title, note.plain_content
    if not (title or content):
        return None
    return note.model_copy(update={"title": title, "content": content, "hashtags": ()})


def as_neighbour(note: Note, cosine: float) -> NeighbourNote:
    """A stored note as evidence."""
    return NeighbourNote(float(cosine), note.plain_text, tuple(map(hashtag_key, note.all_hashtags)))
