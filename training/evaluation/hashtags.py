"""Scores of hashtag lists: precision, recall and F1 at k, ROUGE and BLEU."""

from collections.abc import Sequence

import numpy as np

from notellm.note import hashtag_key
from training.evaluation.measurement import HashtagScores
from training.evaluation.packages import evaluation_package
from training.evaluation.text import words

CUTS = (1, 3)
BINS = 10
_ROUGE = ("rouge1", "rouge2", "rougeL")

Hashtags = Sequence[str]


class _Words:
    """A tokenizer for `rouge_score`, whose own tokenizer drops everything that is not ASCII."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return words(text)


def score_hashtags(predicted: Sequence[Hashtags], references: Sequence[Hashtags]) -> HashtagScores:
    """Compares predicted with given hashtags, note by note.

    `King Glory` and `kingglory` are the same hashtag. Precision at k is the share of the first k predictions that were given, recall
    at k the share of the given hashtags among the first k predictions, and F1 their harmonic mean; all are 0 if nothing is predicted.
    ROUGE (F-measure) and BLEU compare the lists as text, joined by commas and case-folded.

    Args:
        predicted: (notes,), best first.
        references: (notes,), at least one hashtag each.
    """
    metrics: dict[str, list[float]] = {}
    for cut in CUTS:
        triples = [overlap(tags[:cut], given) for tags, given in zip(predicted, references, strict=True)]
        for name, values in zip(("precision", "recall", "f1"), zip(*triples, strict=True), strict=True):
            metrics[f"{name}@{cut}"] = list(values)
    scorer = evaluation_package("rouge_score.rouge_scorer").RougeScorer(list(_ROUGE), tokenizer=_Words())
    texts = [(", ".join(given), ", ".join(tags)) for tags, given in zip(predicted, references, strict=True)]
    rouge = [scorer.score(target, prediction) for target, prediction in texts]
    for name in _ROUGE:
        metrics[name.replace("rouge", "rouge-")] = [float(one[name].fmeasure) for one in rouge]
    return HashtagScores(metrics={name: np.round(values, 6).tolist() for name, values in metrics.items()}, bleu=_bleu(texts))


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015) over ten bins of equal width.

    It is the mean over all predictions of the difference between a bin's mean confidence and its share of right predictions.

    Args:
        confidences: (predictions,), at least one.
        right: (predictions,), whether each is right.
    """
    sure, hits = np.asarray(confidences), np.asarray(right, dtype=float)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs(float((sure[bins == one] - hits[bins == one]).sum())) for one in range(BINS)]
    return sum(gaps) / len(sure)


def overlap(predicted: Hashtags, given: Hashtags) -> tuple[float, float, float]:
    """Precision, recall and F1 of predicted hashtags, all 0 if none is right; spellings of one hashtag are the same."""
    keys, wanted = {hashtag_key(tag) for tag in predicted}, {hashtag_key(tag) for tag in given}
    hits = len(keys & wanted)
    if not hits:
        return 0.0, 0.0, 0.0
    return hits / len(keys), hits / len(wanted), 2 * hits / (len(keys) + len(wanted))


def _bleu(texts: Sequence[tuple[str, str]]) -> float:
    """Corpus BLEU. sacrebleu expects one list with the references of all notes. Effective order, because short lists have no 4-grams."""
    bleu = evaluation_package("sacrebleu.metrics").BLEU(lowercase=True, effective_order=True)
    return float(bleu.corpus_score([prediction for _, prediction in texts], [[target for target, _ in texts]]).score)
