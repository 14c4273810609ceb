"""Builds the committed sample of Stack Exchange notes from data dumps.

    python -m demo.build_sample DIRECTORY_WITH_A_FOLDER_PER_SITE

Writes notes.jsonl.gz (the notes), events.csv.gz (user, note, event, time) and attribution.csv.gz (the author of each note) into
this directory. The same dumps always give the same bytes.
"""

import sys
from pathlib import Path

from training.commands.data import write_table
from training.data import StackExchangeSite, write_notes

HERE = Path(__file__).parent


def main(source: Path) -> None:
    """Reads every site in `source` and writes the three files."""
    sites = [StackExchangeSite(folder) for folder in sorted(source.iterdir()) if (folder / "Posts.xml").exists()]
    write_notes(HERE / "notes.jsonl.gz", (note for site in sites for note in site.notes()))
    events = (event for site in sites for event in site.events())
    write_table(
        HERE / "events.csv.gz",
        ["user", "note", "event", "time"],
        ((event.user, event.note, event.event, event.time.isoformat()) for event in events),
    )
    attributions = (attribution for site in sites for attribution in site.attributions())
    write_table(
        HERE / "attribution.csv.gz",
        ["note", "url", "author", "author_url"],
        ((item.note, item.url, item.author, item.author_url) for item in attributions),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
