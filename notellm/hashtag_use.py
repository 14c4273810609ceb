"""`HashtagUse`: how many notes have each hashtag, whatever its spelling."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from notellm.note import NoteText, hashtag_key

# How many stored notes must have a hashtag that training did not see, before it may be suggested.
MIN_USES = 3
# How many notes the use among all notes weighs as, where recent notes are counted as well.
_ALL_NOTES_WEIGHT = 100


@dataclass(frozen=True)
class HashtagUse:
    """How many notes have each hashtag.

    Attributes:
        notes: number of notes that were counted.
        counts: number of notes by `hashtag_key`, most used first.
        spelled: the most used spelling by `hashtag_key`.
        recent: the same of the notes that were published lately; None if all notes count alike.
    """

    notes: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    spelled: Mapping[str, str] = field(default_factory=dict)
    recent: "HashtagUse | None" = None

    @classmethod
    def of_spellings(cls, spellings: Mapping[str, int], notes: int) -> "HashtagUse":
        """Adds up the spellings of each hashtag.

        Args:
            spellings: number of notes by spelling. A note that has two spellings of one hashtag counts twice.
            notes: number of notes that were counted.
        """
        uses: Counter[str] = Counter()
        spelled: dict[str, str] = {}
        for tag in sorted(spellings, key=lambda tag: (-spellings[tag], tag)):
            if key := hashtag_key(tag):
                uses[key] += spellings[tag]
                spelled.setdefault(key, tag)
        return cls(notes, {key: uses[key] for key in sorted(uses, key=lambda key: (-uses[key], key))}, spelled)

    @classmethod
    def of_notes(cls, notes: Iterable[NoteText]) -> "HashtagUse":
        """Counts the hashtags of notes; a note has each hashtag once, see `NoteText.all_hashtags`."""
        spellings: Counter[str] = Counter()
        counted = 0
        for note in notes:
            spellings.update(note.all_hashtags)
            counted += 1
        return cls.of_spellings(spellings, counted)

    @property
    def hashtags(self) -> tuple[str, ...]:
        """The hashtags, most used first, each in its most used spelling."""
        return tuple(self.spelled[key] for key in self.counts)

    def rate(self, key: str) -> float:
        """The share of notes that have a hashtag, between 0 and 1, both exclusive; that of recent notes, if they are known.

        Laplace's rule of succession, (n + 1) / (N + 2): a hashtag that no note has is unlikely, not impossible. Of few recent notes the
        share is uncertain, so all notes count as if they were a hundred recent ones.
        """
        everywhere = (min(self.counts.get(key, 0), self.notes) + 1) / (self.notes + 2)
        if (recent := self.recent) is None:
            return everywhere
        used = min(recent.counts.get(key, 0), recent.notes)
        return (used + _ALL_NOTES_WEIGHT * everywhere) / (recent.notes + _ALL_NOTES_WEIGHT)
