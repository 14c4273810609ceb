"""`notellm-train convert`, `validate` and `pairs`: read data files and find related pairs."""

import csv
import gzip
import io
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from training.data import MicroLens, PairSettings, StackExchangeSite, open_events, read_valid_notes, select_pairs, write_notes
from training.errors import ConfigError, DataError

NotesFile = Annotated[Path, typer.Option(help="Notes: .parquet, .jsonl or .csv, also with .gz.")]
EventsFile = Annotated[Path, typer.Option(help="Behaviour log: .parquet, .jsonl or .csv, also with .gz.")]
DropInvalid = Annotated[bool, typer.Option(help="Drop and count invalid rows instead of refusing the file.")]


class Source(StrEnum):
    """Public datasets that can be converted."""

    MICROLENS = "microlens"
    STACKEXCHANGE = "stackexchange"


def convert(
    source: Annotated[Source, typer.Argument(help="Which public dataset.")],
    directory: Annotated[Path, typer.Argument(help="Its official files; for Stack Exchange, one folder per site.")],
    output: Annotated[Path, typer.Argument(help="Directory for notes.jsonl.gz and events.csv.gz.")],
) -> None:
    """Writes a public dataset in this project's format."""
    if not directory.is_dir():
        raise DataError(f"{directory} is not a directory")
    output.mkdir(parents=True, exist_ok=True)
    if source is Source.MICROLENS:
        dataset = MicroLens(directory)
        notes = {note.id: note for note in dataset.notes()}
        write_notes(output / "notes.jsonl.gz", notes.values())
        kept = [event for event in dataset.events() if event[1] in notes]
        write_table(output / "events.csv.gz", ("user", "note", "position"), kept)
        typer.echo(f"{output}: {len(notes):,} notes, {len(kept):,} events")
        return
    sites = [StackExchangeSite(folder) for folder in sorted(directory.iterdir()) if (folder / "Posts.xml").exists()]
    if not sites:
        raise DataError(f"{directory} has no folder with a Posts.xml: unpack the data dumps into it, one folder per site")
    found = [note for site in sites for note in site.notes()]
    events = [event for site in sites for event in site.events()]
    write_notes(output / "notes.jsonl.gz", found)
    rows = ((event.user, event.note, event.event, event.time.isoformat()) for event in events)
    write_table(output / "events.csv.gz", ("user", "note", "event", "time"), rows)
    typer.echo(f"{output}: {len(found):,} notes, {len(events):,} events")


def validate(notes: NotesFile, events: EventsFile, drop_invalid: DropInvalid = False) -> None:
    """Checks the notes and the behaviour log, and prints what they contain."""
    read, dropped = read_valid_notes(notes, drop_invalid=drop_invalid)
    log = open_events(events, read, drop_invalid=drop_invalid)
    period = log.period()
    facts = {
        "notes": f"{len(read):,}",
        "with hashtags": f"{sum(bool(note.all_hashtags) for note in read.values()):,}",
        "with a category": f"{sum(note.category is not None for note in read.values()):,}",
        "categories": f"{len({note.category for note in read.values()} - {None}):,}",
        "events": f"{log.count():,}",
        "users": f"{log.users():,}",
        "notes with events": f"{len(log.exposure()):,}",
        "period": f"{period[0]:%Y-%m-%d %H:%M} to {period[1]:%Y-%m-%d %H:%M} UTC" if period else "order only",
    }
    for reason, count in [*dropped.items(), *log.dropped.items()]:
        facts[f"dropped: {reason}"] = f"{count:,}"
    width = max(24, *map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}} {value}")


def pairs(
    notes: NotesFile,
    events: EventsFile,
    output: Annotated[Path, typer.Option(help="Parquet or CSV file to write: source, target, score.")],
    per_note: Annotated[int, typer.Option(help="t: number of successors to keep for each note.")] = 10,
    min_users: Annotated[int, typer.Option(help="Pairs of fewer users are dropped.")] = 1,
    min_score: Annotated[float, typer.Option(help="l: pairs with a lower score are dropped.")] = 0.01,
    max_score: Annotated[float, typer.Option(help="u: pairs with a higher score are dropped.")] = 30.0,
    successors: Annotated[
        int,
        typer.Option(min=0, help="A click counts if it is on one of this many notes that the user visits next; 0: no limit."),
    ] = 10,
    window_hours: Annotated[float | None, typer.Option(help="Longest time from the view to the click.")] = None,
    view_event: Annotated[list[str] | None, typer.Option(help="Event type that is a view; repeat the option.")] = None,
    click_event: Annotated[list[str] | None, typer.Option(help="Event type that is a click; repeat the option.")] = None,
    drop_invalid: DropInvalid = False,
) -> None:
    """Finds the related pairs of a whole log. The log may be larger than memory."""
    try:
        settings = PairSettings(
            per_note=per_note, min_users=min_users, min_score=min_score, max_score=max_score, successors=successors or None,
            window_hours=window_hours, view_events=tuple(view_event) if view_event else None,
            click_events=tuple(click_event) if click_event else None,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(": ".join([*(f"--{name}".replace("_", "-") for name in first["loc"]), first["msg"]])) from error
    if output.suffix not in {".parquet", ".csv"} or not output.parent.is_dir():
        raise ConfigError(f"--output {output}: give a .parquet or .csv file in an existing directory")
    read, dropped = read_valid_notes(notes, drop_invalid=drop_invalid)
    log = open_events(events, read, drop_invalid=drop_invalid)
    for reason, number in [*dropped.items(), *log.dropped.items()]:
        typer.echo(f"dropped: {number:,} rows, {reason}")
    if window_hours and not log.has_times:
        raise DataError(f"{events} has positions but no times: remove --window-hours")
    count = select_pairs(log.connection, read, settings)
    if not count:
        raise DataError(f"the {log.count():,} events of {events} give no related pair: lower --min-users or --min-score")
    log.connection.execute("copy (select * from pairs order by score desc, source, target) to ?", [str(output.absolute())])
    typer.echo(f"{output}: {count:,} related pairs from {log.count():,} events of {log.users():,} users")


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Writes a gzipped CSV file; the same rows always give the same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
