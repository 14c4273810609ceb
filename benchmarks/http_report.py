"""The report of `benchmarks.http`, with tables and plots."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.load import percentile
from benchmarks.measure import Content, Spread, ratios

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def markdown(content: Content) -> str:
    """See `benchmarks.speed.Section`."""
    head = (
        f"`notellm-serve` and the load generator are separate processes; the bare `NoteEncoder` runs in a third one, while the "
        f"others rest. Notes have {content['tokens']:.0f} prompt tokens on average; {content['threads']} threads; `POST /notes/embed` "
        "with `store=false`."
    )
    parts = (_idle(content["idle"]), _saturation(content["saturation"]), _latencies(content["latencies"]))
    return "\n\n".join([head, *parts, _overload(content["overload"])])


def figures(content: Content) -> "dict[str, Figure]":
    """See `benchmarks.speed.Section`."""
    return {"http-latency": _latency_figure(content["latencies"]), "http-overload": _overload_figure(content["overload"])}


def _idle(idle: Content) -> str:
    parts, bare = idle["parts"], statistics.mean(idle["bare"])
    rows = [
        ("bare encoder", bare),
        ("the server's batch, beyond the bare encoder", parts["batch"] - bare),
        ("waiting in the queue", parts["queue"]),
        ("reading, checking, tokenising and answering in the server", parts["request"] - parts["queue"] - parts["batch"]),
        ("HTTP server and client around it", statistics.mean(idle["http"]) - parts["request"]),
    ]
    return _table(
        f"**Idle**, one note at a time, {len(idle['http'])} notes each way in turn: the p50 is "
        f"{_ms(percentile(idle['http'], 50))} over HTTP and {_ms(percentile(idle['bare'], 50))} with the bare encoder, so HTTP and "
        f"queue add **{_ms(idle['added'])}**. The event loop takes {_ms(idle['loop_cpu'])} of processor time per request. Means of the "
        "parts:",
        ("part", "time"),
        [(name, _ms(value)) for name, value in rows],
    )


def _saturation(saturation: Content) -> str:
    notes, taken = saturation["notes"], saturation["seconds"]
    names = {
        "bare": "bare encoder",
        "several": f"HTTP, {saturation['several']} notes per request, {saturation['several_clients']} clients",
        "single": f"HTTP, one note per request, {saturation['single_clients']} clients",
    }
    rows = [
        (name, Spread.of([notes / value for value in taken[way]]).text(), ratios(taken["bare"], taken[way]).text())
        for way, name in names.items()
    ]
    end = (
        f"A note over HTTP takes {_ms(saturation['loop_cpu'])} of processor time in the server's event loop, "
        f"{_ms(saturation['other_cpu'])} in its other threads (the forward pass) and {_ms(saturation['client_cpu'])} in the load "
        "generator."
    )
    title = f"**Saturation**, {notes} notes per round, {len(taken['bare'])} rounds:"
    return _table(title, ("way", "notes/s", "share of the bare encoder's rate"), rows) + "\n\n" + end


def _latencies(latencies: Sequence[Content]) -> str:
    rows = [
        (str(one["clients"]), str(one["requests"]), *(_ms(one[name]) for name in ("p50", "p95", "p99")),
         f"{one['notes_per_second']:.2f}")
        for one in latencies
    ]  # fmt: skip
    title = "**Latency** of one note, if each client sends its next request after the answer to the last one:"
    return _table(title, ("clients", "requests", "p50", "p95", "p99", "notes/s"), rows)


def _overload(overload: Content) -> str:
    rows = [
        (f"{load}×", Spread.of([one["goodput"] for one in rounds]).text(), *_sums(rounds),
         _ms(Spread.of([one["p50"] for one in rounds]).median), _ms(Spread.of([one["p99"] for one in rounds]).median),
         f"{statistics.mean(one['loop_share'] for one in rounds):.1%}",
         f"{statistics.mean(one['client_share'] for one in rounds):.1%}")
        for load, rounds in overload["rounds"].items()
    ]  # fmt: skip
    least, most = (overload["rounds"][load] for load in ("1", "4"))
    kept = ratios([one["goodput"] for one in most], [one["goodput"] for one in least])
    missing = sum(one["no_retry_after"] for rounds in overload["rounds"].values() for one in rounds)
    title = (
        f"**Overload**: Poisson arrivals of single notes at the capacity of {overload['capacity']:.1f} notes/s and at four times the "
        f"capacity, in turn. Each request has a deadline of {overload['deadline']:g} s. Goodput is the rate of answers in time; at 4× "
        f"it is **{kept.text()}** of the goodput at 1×. Refusals without `Retry-After`: {missing}. p50 and p99 are those of the "
        "notes that got their vector; the last two columns are shares of one core."
    )
    return _table(
        title, ("load", "goodput, notes/s", "200", "429", "504", "other", "p50", "p99", "event loop", "load generator"), rows
    )


def _sums(rounds: Sequence[Content]) -> list[str]:
    counts = [str(sum(one["counts"][status] for one in rounds)) for status in ("200", "429", "504")]
    return [*counts, str(sum(one["other"] for one in rounds))]


def _latency_figure(latencies: Sequence[Content]) -> "Figure":
    from matplotlib import pyplot as plt  # noqa: PLC0415 -- the report's alone

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    clients = [one["clients"] for one in latencies]
    for name in ("p50", "p95", "p99"):
        axes.plot(clients, [one[name] for one in latencies], marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="clients", ylabel="seconds", title="Latency of one note")
    axes.set_xticks(clients, [str(number) for number in clients], minor=False)
    axes.legend()
    return figure


def _overload_figure(overload: Content) -> "Figure":
    from matplotlib import pyplot as plt  # noqa: PLC0415 -- the report's alone

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    found: dict[str, Any] = overload["rounds"]
    goodput = [[one["goodput"] for one in rounds] for rounds in found.values()]
    axes.bar([f"{load}×" for load in found], [statistics.median(values) for values in goodput], width=0.5)
    for place, values in enumerate(goodput):
        axes.plot([place] * len(values), values, "k.")
    axes.axhline(overload["capacity"], linestyle="--", color="gray", label="capacity, closed loop")
    axes.set(xlabel="arrivals, as a multiple of the capacity", ylabel="notes/s", title="Answered within the deadline")
    axes.legend(loc="lower right")
    return figure


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return title + "\n\n" + "\n".join(lines)


def _ms(value: float) -> str:
    return f"{value * 1000:.1f} ms"
