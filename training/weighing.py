"""`hashtag_evidence`: how much a trained model and stored notes count for a hashtag."""

import copy

import torch

from notellm.evidence import EvidenceWeights
from notellm.hashtags import is_clean
from notellm.model import NoteLLM
from notellm.note import Note
from notellm.prompt import NotePrompt
from training.config import TrainingConfig
from training.data import Dataset
from training.model import for_inference
from training.suggesting import LEAST_NOTES, StoredNotes, fit_evidence, growing
from training.waves import waves

# Training notes that stand for the notes that a service has stored.
STORED_NOTES = 20_000


def hashtag_evidence(config: TrainingConfig, dataset: Dataset, trained: NoteLLM, prompt: NotePrompt) -> EvidenceWeights | None:
    """How much the model and stored notes count for a hashtag, learnt from validation notes.

    If the notes are split by time, validation notes come one after another, and the earlier ones are stored when later ones ask.

    Args:
        config: the settings of the run.
        dataset: its training notes stand for the notes that a service has stored.
        trained: the model, which has not learnt from validation notes.
        prompt: the prompt builder of the model.

    Returns:
        The weights; None if there are too few validation notes with hashtags, or if no training note has one.
    """
    validation = [dataset.notes[note] for note in dataset.split.in_order("validation")]
    judges = _sample([note for note in validation if note.all_hashtags], config.validation.hashtag_notes)
    training = [dataset.notes[note] for note in sorted(dataset.split.train)]
    stored = _sample([note for note in training if note.all_hashtags], STORED_NOTES)
    if len(judges) < LEAST_NOTES or not any(is_clean(tag) for note in stored for tag in note.all_hashtags):
        return None
    causal_lm = for_inference(trained.causal_lm, config.compute.precision).eval()  # a model that was just trained has dropout
    head = copy.deepcopy((trained.projection, trained.tokens))  # it may be on another device
    model = NoteLLM(causal_lm, *head).to(causal_lm.device)
    with torch.inference_mode():
        start = StoredNotes(model, prompt, stored)
        if not dataset.split.order:
            return fit_evidence([(start, judges)])
        # What came later is stored later, as in a service, where the nearest notes are often the last ones.
        return fit_evidence(growing(start, waves(validation, {note.id for note in judges})))


def _sample(notes: list[Note], most: int) -> list[Note]:
    """At most `most` of the notes, from all over the list."""
    count = min(most, len(notes))
    return [notes[place * len(notes) // count] for place in range(count)]
