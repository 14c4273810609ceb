"""Hashtags from several sources: what the model finds likely, what the nearest stored notes have, and how common a hashtag is.

Each candidate gets one probability, by a logistic regression over `FEATURES`. Training fits its weights to notes that the model has not
learnt from, so the probabilities are calibrated.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from notellm.hashtag_use import HashtagUse
from notellm.hashtags import HashtagSuggestion, Source
from notellm.note import hashtag_key
from notellm.text_words import TextWords

FEATURES = ("likelihood", "found", "vote", "share", "rate", "words")
# How many candidates the model and the neighbours may each bring.
MOST_FOUND, MOST_VOTED = 8, 32
# Neighbours that vote, and how many notes must be stored before they do: among few, even the nearest is far away.
NEIGHBOURS = 50
LEAST_STORED = 2 * NEIGHBOURS
# Shares below this are as good as nothing.
_LEAST_SHARE = 1e-4
_PRIOR = 0.02
_LEAST_LIKELIHOOD = 1e-12


@dataclass(frozen=True)
class NeighbourNote:
    """A stored note near the one that gets suggestions.

    Attributes:
        similarity: cosine of the two vectors.
        text: its title and content. Notes with the same text, such as reposts, have one vote together.
        hashtag_keys: the `hashtag_key` of each of its hashtags.
    """

    similarity: float
    text: str
    hashtag_keys: Sequence[str]


@dataclass(frozen=True)
class Candidate:
    """A hashtag that may be suggested for a note.

    Attributes:
        hashtag: as it is shown.
        sources: who brings it.
        features: the values of `FEATURES`.
    """

    hashtag: str
    sources: tuple[Source, ...]
    features: tuple[float, ...]


class EvidenceWeights(BaseModel):
    """The weights of a logistic regression over `FEATURES`.

    Attributes:
        temperature: how much a neighbour's vote falls with its distance: by a factor of e for each `temperature` of cosine.
        intercept: the log-odds of a candidate whose features are all 0.
        weights: the weight of each feature, in the order of `FEATURES`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(gt=0)
    intercept: float
    weights: tuple[float, float, float, float, float, float]

    def probability(self, candidate: Candidate) -> float:
        """The probability that the note has the hashtag."""
        odds = self.intercept + math.fsum(w * value for w, value in zip(self.weights, candidate.features, strict=True))
        return (1 + math.tanh(odds / 2)) / 2  # the logistic function, which cannot overflow in this form

    def suggestions(self, candidates: Iterable[Candidate], count: int) -> list[HashtagSuggestion]:
        """The `count` most probable candidates, best first."""
        rated = [HashtagSuggestion(one.hashtag, self.probability(one), one.sources) for one in candidates]
        return sorted(rated, key=lambda one: (-one.confidence, one.hashtag))[:count]


@dataclass(frozen=True)
class Evidence:
    """What speaks for the hashtags of one note.

    Attributes:
        text: its title and content.
        found: the hashtags that the model finds likeliest, best first, with their probabilities: `MOST_FOUND`, or more if more are wanted.
        neighbours: stored notes, nearest first. The first `NEIGHBOURS` count.
    """

    text: str
    found: Sequence[HashtagSuggestion]
    neighbours: Sequence[NeighbourNote]

    def candidates(self, use: HashtagUse, spelling: Callable[[str], str | None], temperature: float) -> list[Candidate]:
        """The hashtags that the model has found and those that neighbours have, each with its features.

        Args:
            use: how often stored notes have a hashtag.
            spelling: the hashtag of a `hashtag_key`, or None if it must not be suggested.
            temperature: see `EvidenceWeights`.
        """
        likelihoods = {hashtag_key(one.hashtag): max(one.confidence, _LEAST_LIKELIHOOD) for one in self.found}
        least = min(likelihoods.values(), default=_LEAST_LIKELIHOOD)
        shares = votes(self.neighbours[:NEIGHBOURS], temperature)
        voted = sorted(filter(spelling, shares), key=lambda key: (-shares[key], key))[:MOST_VOTED]
        text = TextWords(self.text)
        brought: dict[Source, Mapping[str, float]] = {"model": likelihoods, "neighbours": shares}
        made = []
        for key in dict.fromkeys([*likelihoods, *voted]):
            if not (hashtag := spelling(key)):
                continue
            share, rate = shares.get(key, 0.0), use.rate(key)
            features = (
                math.log(likelihoods.get(key, least)),
                float(key in likelihoods),
                math.log(share + _PRIOR * rate + _LEAST_SHARE),
                share,
                math.log(rate),
                text.share_of(hashtag),
            )
            made.append(Candidate(hashtag, tuple(source for source, keys in brought.items() if key in keys), features))
        return made


def votes(neighbours: Sequence[NeighbourNote], temperature: float) -> dict[str, float]:
    """The share of the neighbours' votes for each `hashtag_key`, 0 to 1.

    A text votes with the weight exp(cosine / temperature), whatever number of notes have it; these notes share its vote.
    """
    texts: dict[str, list[NeighbourNote]] = defaultdict(list)
    for note in neighbours:
        texts[hashtag_key(note.text)].append(note)
    nearest = max((note.similarity for note in neighbours), default=0.0)
    shares: dict[str, float] = defaultdict(float)
    total = 0.0
    for notes in texts.values():
        weight = math.exp((max(note.similarity for note in notes) - nearest) / temperature)
        total += weight
        for note in notes:
            for key in dict.fromkeys(note.hashtag_keys):
                shares[key] += weight / len(notes)
    return {key: share / total for key, share in shares.items()}
