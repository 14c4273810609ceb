"""`schedule`: which faults a soak of any length has, and when. The same for every length, only compressed."""

from dataclasses import dataclass
from itertools import cycle, pairwise

ENDS = ("SIGKILL", "SIGTERM")
SMALL = ("hang-ups", "hostile bodies", "burst", "key rotation", "full disk", "SIGSTOP")
NETWORK = ("Qdrant refuses", "Qdrant hangs")


@dataclass(frozen=True)
class Fault:
    """What happens, in seconds from the begin, and for how long; ends take as long as a start does."""

    kind: str
    at: float
    seconds: float


def _within(least: float, value: float, most: float) -> float:
    return min(max(value, least), most)


def schedule(seconds: float) -> list[Fault]:
    """Faults of the service with the embedded index: a first life of a third of the time, several shorter ones, small faults in each."""
    gap, length = _within(3.5, seconds / 12, 20), _within(1.5, seconds / 300, 5)
    ends = round(_within(2, seconds / 200, 9))
    starts = [0.0, *(seconds * (1 + 2 * number / ends) / 3 for number in range(ends)), seconds]
    small, end = cycle(SMALL), cycle(ENDS)
    faults: list[Fault] = []
    for begin, stop in pairwise(starts):
        at = begin + gap
        while at < stop - gap / 2:
            faults.append(Fault(next(small), at, length))
            at += gap
        if stop < seconds:
            faults.append(Fault(next(end), stop, 0))
    return faults


def network_schedule(seconds: float) -> list[Fault]:
    """Faults of the network between the other service and its Qdrant server."""
    gap, kinds = _within(18, seconds / 12, 150), cycle(NETWORK)
    times = [gap * (number + 0.6) for number in range(int(seconds / gap))]
    return [Fault(next(kinds), at, _within(2, seconds / 180, 10)) for at in times]
