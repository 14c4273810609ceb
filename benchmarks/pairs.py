"""Makes a behaviour log, finds its related pairs as `notellm-train pairs` does, and prints time, memory and the number of pairs.

    .venv/bin/python -m benchmarks.pairs --events 20000000

The log covers one week. Notes follow Zipf's law and users the square of a uniform number (with 500,000 users and 20 million events, the
most active user has about 28,000 events); a fifth of the events are clicks. With the defaults of `PairSettings`, every event is a view
and a click. Only the ids of the notes are in memory here; the command itself also keeps the notes.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import duckdb

from training.data import PairSettings, open_events, select_pairs

Given = ParamSpec("Given")
Result = TypeVar("Result")

KIB_A_GIB = 2**20
WEEK = 7 * 24 * 3600
# A hash of the row's number instead of random() gives the same log for any number of threads.
LOG = f"""
copy (
    select
        'u' || floor($users * pow(hash(row, $seed, 'user') / pow(2, 64), 2))::bigint as "user",
        'n' || least(floor(exp(ln($notes + 1) * hash(row, $seed, 'note') / pow(2, 64)))::bigint, $notes) as note,
        case when hash(row, $seed, 'event') % 5 = 0 then 'click' else 'view' end as event,
        1760000000 + (hash(row, $seed, 'time') % {WEEK})::bigint as time
    from range($events) as rows(row)
) to $path (format parquet)
"""  # noqa: S608


@dataclass(frozen=True)
class Measured:
    """Time and memory of one process.

    Attributes:
        read, paired: wall-clock seconds of `open_events` and of `select_pairs`.
        peak: peak resident memory, in GiB.
        pairs: number of pairs.
    """

    read: float
    paired: float
    peak: float
    pairs: int


def write_log(path: Path, events: int, users: int, notes: int, seed: int) -> None:
    """Writes the log as parquet."""
    given = {"path": str(path), "events": events, "users": users, "notes": notes, "seed": seed}
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        connection.execute(LOG, given)


def find_pairs(path: Path, notes: int, scratch: Path) -> Measured:
    """Finds the pairs of a log with the code of the product."""
    start = time.perf_counter()
    ids = [f"n{number}" for number in range(1, notes + 1)]
    log = open_events(path, ids, scratch=scratch)
    opened = time.perf_counter()
    pairs = select_pairs(log.connection, ids, PairSettings())
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_A_GIB
    return Measured(opened - start, done - opened, peak, pairs)


def in_own_process(task: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Runs the task in a new process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(task, *args, **kwargs).result()


def main() -> None:
    """Makes the log, finds the pairs and prints a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--notes", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        in_own_process(write_log, path, options.events, options.users, options.notes, options.seed)
        measured = in_own_process(find_pairs, path, options.notes, Path(folder))
    print("| events | users | notes | reading (s) | pairs (s) | peak memory (GiB) | pairs |\n|---|---|---|---|---|---|---|")
    print(
        f"| {options.events:,} | {options.users:,} | {options.notes:,} | {measured.read:.0f} | {measured.paired:.0f} "
        f"| {measured.peak:.2f} | {measured.pairs:,} |"
    )


if __name__ == "__main__":
    main()
