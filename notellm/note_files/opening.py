"""`open_rows`: opens a file of notes with the reader of its kind."""

from pathlib import Path

from notellm.errors import NoteFileError
from notellm.note_files.row import RowFile
from notellm.note_files.text import CsvFile, JsonLines

KINDS = (".jsonl", ".csv", ".parquet")


def open_rows(path: Path) -> RowFile:
    """Opens a file of notes. The end of its name says which kind it is: `.jsonl`, `.csv` (both also with `.gz`) or `.parquet`.

    Raises:
        NoteFileError: the file is of another kind, cannot be read, or has columns that are not fields of a note.
    """
    kind = next((part for part in reversed(path.suffixes) if part != ".gz"), "")
    if kind not in KINDS or (kind == ".parquet" and path.suffix == ".gz"):
        raise NoteFileError(path, "is not a file of notes: its name must end in .jsonl, .csv (both also with .gz) or .parquet")
    if path.is_dir():
        raise NoteFileError(path, "is a folder: name one file. To read many files, put them together first")
    try:
        if kind == ".parquet":
            from notellm.note_files.parquet import ParquetFile

            return ParquetFile(path)
        return JsonLines(path) if kind == ".jsonl" else CsvFile(path)
    except FileNotFoundError as error:
        raise NoteFileError(path, "is missing") from error
    except OSError as error:
        raise NoteFileError(path, f"cannot be read: {error.strerror or error}") from error
