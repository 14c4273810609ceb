"""`BehaviourFit`: projection and token vectors in closed form, from the co-occurrences of training notes, without a gradient."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from notellm.prompt import NotePrompt
from notellm.token_vectors import TokenVectors
from training.batches import ValidationPool
from training.data import Dataset
from training.model.initialize import linear
from training.model.states import Encode
from training.model.token_terms import Classes, documents, terms_of
from training.projection import DEFAULT_RIDGE, RIDGES, Features, Moments, Solution, TextFeatures
from training.ranking import Scores

logger = logging.getLogger(__name__)
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Head:
    """What turns a note's hidden state and tokens into its embedding.

    Attributes:
        projection: hidden size → dimensions, without bias.
        tokens: the token vectors, if the model has any.
    """

    projection: nn.Linear
    tokens: TokenVectors | None

    @torch.no_grad()
    def vectors(self, states: Features, prompts: list[list[int]]) -> Scores:
        """Unit vectors of notes, (notes, dimensions), from their hidden states and their prompts without the opening."""
        added = self.tokens.of_prompts(prompts).cpu() if self.tokens is not None else 0.0
        projected = functional.linear(torch.from_numpy(states), self.projection.weight.detach().float().cpu())
        vectors: Scores = functional.normalize(projected + added, dim=-1).numpy()
        return vectors


class BehaviourFit:
    """Everything that the closed form needs to know of the notes.

    The features of a note are its hidden state, divided so that the mean square distance of states from their mean is 1, and beside it
    the text features of its own tokens.

    Args:
        encode: the hidden states of notes.
        prompt: the prompt of the model.
        dataset: its training notes are fitted, and its validation notes choose the ridge.
        classes: the classes of tokens (`token_classes`); None for no token vectors.
        most_notes: fit only this many training notes, those in the most co-occurrences; None for all.

    Raises:
        DataError: there are no co-occurrences.
    """

    def __init__(
        self, encode: Encode, prompt: NotePrompt, dataset: Dataset, *, classes: Classes | None = None, most_notes: int | None = None
    ) -> None:  # fmt: skip
        self._prompt, self._classes = prompt, classes
        known = dataset.cooccurrences["train"]
        everyone = [dataset.notes[one] for one in known.notes]
        terms = dict(zip(known.notes, documents(prompt, classes, everyone), strict=True)) if classes is not None else {}
        self._text = TextFeatures([*terms.values()]) if classes is not None else None
        fitted = known.of_most_frequent(most_notes)
        notes = [dataset.notes[one] for one in fitted.notes]
        states = encode(notes)
        self._scale = float(np.sqrt(states.var(axis=0, dtype=np.float64).sum())) or 1.0
        self._features = self._side_by_side(states, [terms[one] for one in fitted.notes] if classes is not None else None)
        self._moments = Moments.of(self._features, fitted)
        judges = dataset.cooccurrences["validation"].notes
        pairs = dataset.pairs_of("validation", "cooccurrences")
        self._pool = ValidationPool.of(pairs, judges, len(judges), both_ways=True)
        asked = [dataset.notes[one] for one in self._pool.notes] if self._pool else []
        self._asked_states = encode(asked)
        opening = len(prompt.embedding_prefix)
        self._asked_prompts = [prompt.embedding(note)[opening:] for note in prompt.tokenize(asked)]

    def solve(self, dimensions: int) -> Head:
        """The head with the ridge of `RIDGES` that has the best recall; without validation notes, that of `DEFAULT_RIDGE`.

        Raises:
            DataError: there are not more features than dimensions.
        """
        if self._pool is None:
            return self._head(self._moments.solve(dimensions, DEFAULT_RIDGE))
        heads, recalls = [], []
        for ridge in RIDGES:
            heads.append(self._head(self._moments.solve(dimensions, ridge)))
            recalls.append(self.recall(heads[-1]) or 0)
            logger.info("closed form with ridge %g: recall@%d %.4f on validation notes", ridge, self.k, recalls[-1])
        return heads[int(np.argmax(recalls))]

    @property
    def k(self) -> int:
        """The k of `recall` (`ValidationPool.cut`); 0 if there is none."""
        return self._pool.cut if self._pool is not None else 0

    def recall(self, head: Head) -> float | None:
        """recall@k of the co-occurrences of validation notes; None if there are none."""
        if self._pool is None:
            return None
        return self._pool.recall("closed form", head.vectors(self._asked_states, self._asked_prompts), self.k)

    def _side_by_side(self, states: Features, terms: list[list[int]] | None) -> Features:
        scaled = states / np.float32(self._scale)
        return scaled if self._text is None or terms is None else np.hstack([scaled, self._text.transform(terms)])

    def _head(self, solution: Solution) -> Head:
        """Splits the solution into projection and token vectors, scaled so that the mean length of vectors is 1 before normalisation."""
        lengths = np.linalg.norm(self._features @ solution.weight.T.astype(np.float32), axis=1)
        weight = solution.weight / max(float(lengths.mean()), _TINY)
        hidden = weight.shape[1] - (len(self._text.components) if self._text else 0)
        projection = linear(torch.from_numpy(weight[:, :hidden] / self._scale))
        if self._text is None or self._classes is None:
            return Head(projection, None)
        vectors: npt.NDArray[np.float64] = (weight[:, hidden:] @ self._text.components).T
        return Head(projection, TokenVectors(terms_of(self._text, self._classes, self._prompt), torch.from_numpy(vectors)))


def blank_tokens(prompt: NotePrompt, classes: Classes, dataset: Dataset, dimensions: int) -> TokenVectors:
    """Token vectors of zeros, with the terms that `BehaviourFit` would find."""
    notes = [dataset.notes[note] for note in dataset.cooccurrences["train"].notes]
    text = TextFeatures(documents(prompt, classes, notes), 1)
    return TokenVectors(terms_of(text, classes, prompt), torch.zeros(len(text.idf), dimensions))
