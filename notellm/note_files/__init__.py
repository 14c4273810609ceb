"""Files of notes: JSON lines, CSV and parquet, as platforms and their tools write them. Training and the service share this package.

`open_rows` gives the rows of a file, good and bad ones; `read_note` makes a note of a row.
"""

from notellm.note_files.opening import open_rows
from notellm.note_files.row import Row, RowFile, read_note
from notellm.note_files.text import has_old_mac_lines, not_text

__all__ = ["Row", "RowFile", "has_old_mac_lines", "not_text", "open_rows", "read_note"]
