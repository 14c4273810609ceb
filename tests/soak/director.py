"""`Director`: does to the services what the schedule says, and declares it."""

import signal
import time
import traceback
from collections.abc import Callable, Sequence

import httpx

from tests.faults.disk import fill
from tests.soak.misbehaviour import Misbehaviour
from tests.soak.observations import Observations
from tests.soak.schedule import Fault
from tests.soak.site import OPERATOR, Site
from tests.soak.stand_in import StandIn

RESERVE_MIB = 100
RECOVERY_SECONDS = 300


class Director:
    """One fault after another; one that begins late, since the one before took its time, is done all the same.

    Args:
        site: to which it is done.
        faults: what may be done, by the names of the schedule; called with the seconds that it lasts.
        seconds: that it lasts at least.
    """

    def __init__(self, site: Site, seen: Observations, faults: dict[str, Callable[[float], None]], seconds: float) -> None:
        self._site = site
        self._seen = seen
        self._faults = faults
        self._seconds = seconds

    def run(self, schedule: Sequence[Fault]) -> None:
        """Returns when all is done and the time is over."""
        for fault in schedule:
            self._wait(fault.at)
            if fault.kind not in self._faults:
                continue
            try:
                with self._seen.window(self._site.name, fault.kind):
                    self._faults[fault.kind](fault.seconds)
            except Exception:  # the soak goes on, and fails at its end
                self._seen.violations.append(f"{fault.kind} at {self._seen.now():.1f} s: {traceback.format_exc(limit=4)}")
        self._wait(self._seconds)

    def _wait(self, until: float) -> None:
        time.sleep(max(0.0, until - self._seen.now()))


def embedded_faults(site: Site, seen: Observations, *, disk: bool) -> dict[str, Callable[[float], None]]:
    """Those of the service with the embedded index. `disk`: whether its directory is a disk of its own."""
    misbehaviour = Misbehaviour(site, seen)

    def restart(sent: signal.Signals) -> None:
        site.stop(sent)
        site.start()

    def stop_for_a_while(seconds: float) -> None:
        site.service.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            site.service.process.send_signal(signal.SIGCONT)
        site.wait_until_ready(RECOVERY_SECONDS)

    def fill_the_disk(seconds: float) -> None:
        filler = fill(site.data_dir, RESERVE_MIB - 10)
        try:
            time.sleep(seconds)
        finally:
            filler.unlink()

    def rotate(_seconds: float) -> None:
        assert site.keys is not None
        old = site.keys.rotate(lambda: int(site.metric("notellm_api_keys")))
        refused = site.get("/model", headers={"Authorization": f"Bearer {old[OPERATOR]}"})
        assert refused.status_code == 401, "a key that was taken back is accepted"

    faults: dict[str, Callable[[float], None]] = {
        "SIGKILL": lambda _: restart(signal.SIGKILL),
        "SIGTERM": lambda _: restart(signal.SIGTERM),
        "SIGSTOP": stop_for_a_while,
        "hang-ups": misbehaviour.hang_up,
        "hostile bodies": misbehaviour.be_hostile,
        "burst": misbehaviour.burst,
        "key rotation": rotate,
    }
    return faults | ({"full disk": fill_the_disk} if disk else {})


def network_faults(site: Site, network: StandIn) -> dict[str, Callable[[float], None]]:
    """Those of the service with a Qdrant server."""

    def fault(word: str, seconds: float) -> None:
        network.tell(word)
        try:
            time.sleep(seconds)
        finally:
            network.tell("start")
        _ready_again(site)

    return {
        "Qdrant refuses": lambda seconds: fault("refuse", seconds),
        "Qdrant hangs": lambda seconds: fault("hang", seconds),
    }


def _ready_again(site: Site) -> None:
    """Twice in a row: of a breaker that is half open one call gets through."""
    deadline, good = time.monotonic() + RECOVERY_SECONDS, 0
    while good < 2:
        assert time.monotonic() < deadline, f"{site.name} does not get well again"
        try:
            good = good + 1 if site.get("/health/ready").status_code == 200 else 0
        except httpx.TransportError:
            good = 0
        time.sleep(0.2)
