"""Reads the official files of MicroLens (arXiv 2309.15379): short-video captions, categories, and chronological histories.

A caption is "text # hashtag # hashtag …". The text before the first `#` is the content (these notes have no title), and each later
piece is a hashtag. A piece of more than four words is prose, often a hashtag that the text runs on from: it belongs to the content.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from notellm.note import MAX_HASHTAG_CHARS, Note
from training.errors import DataError

MAX_HASHTAG_WORDS = 4
STRAY_CATEGORIES = frozenset({"yszp"})


class MicroLens:
    """One of the published subsets.

    Args:
        directory: contains `*_pairs.tsv`, `*_titles.csv` and `*_tags_to_summary.csv`.

    Raises:
        DataError: one of these files is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._pairs, self._titles, self._categories = (
            _find(directory, pattern) for pattern in ("*_pairs.tsv", "*_titles.csv", "*_tags_to_summary.csv")
        )

    def notes(self) -> Iterator[Note]:
        """The captions that are not empty, in the order of the file."""
        with self._categories.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))[1:]
        categories = {row[0].strip(): row[1].strip() for row in rows if row[1].strip() not in STRAY_CATEGORIES}
        with self._titles.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if not {"item", "title"} <= set(reader.fieldnames or ()):
                raise DataError(f"{self._titles} has no columns item and title: use the official file")
            for row in reader:
                note = self._note(row["item"], row["title"], categories.get(row["item"]))
                if note is not None:
                    yield note

    def events(self) -> Iterator[tuple[str, str, int]]:
        """User, note and position of each interaction."""
        with self._pairs.open(encoding="utf-8") as stream:
            for line in stream:
                user, _, history = line.rstrip("\n").partition("\t")
                for position, note in enumerate(history.split()):
                    yield user, note, position

    @staticmethod
    def _note(item: str, caption: str, category: str | None) -> Note | None:
        first, *pieces = (piece.strip() for piece in caption.split("#"))
        prose = [piece for piece in pieces if not _is_hashtag(piece)]
        content = " ".join(piece for piece in (first, *prose) if piece)
        try:
            return Note(id=item, content=content, hashtags=tuple(filter(_is_hashtag, pieces)), category=category)
        except ValidationError:
            return None  # no text and no hashtag is left


def _is_hashtag(piece: str) -> bool:
    return 0 < len(piece.split()) <= MAX_HASHTAG_WORDS and len(piece) <= MAX_HASHTAG_CHARS


def _find(directory: Path, pattern: str) -> Path:
    found = sorted(directory.glob(pattern))
    if not found:
        raise DataError(f"{directory} has no {pattern}: unpack the official files of MicroLens into it")
    return found[0]
