"""`Monitor`: looks every now and then at what the services' processes hold, and whether they answer at once."""

import threading
from contextlib import suppress
from pathlib import Path

import httpx

from tests.soak.observations import Observations, Sample
from tests.soak.site import OPERATOR, Site


class Monitor(threading.Thread):
    """Watches until it is stopped.

    Args:
        every: seconds between two looks.
    """

    def __init__(self, site: Site, seen: Observations, every: float) -> None:
        super().__init__(name=f"monitor of {site.name}", daemon=True)
        self._site, self._seen, self._every = site, seen, every
        self._over = threading.Event()
        limits = httpx.Limits(keepalive_expiry=2)
        self._http = httpx.Client(base_url=site.url, timeout=60, trust_env=False, limits=limits)

    def run(self) -> None:
        """See `threading.Thread.run`."""
        with self._http:
            while not self._over.wait(self._every):
                self._look()

    def stop(self) -> None:
        """Ends it."""
        self._over.set()
        self.join(120)

    def _look(self) -> None:
        life, process = self._site.life, self._site.service.process.pid
        live, queued = self._ask("live", "/health/live"), 0.0
        if metrics := self._ask("metrics", "/metrics"):
            lines = [line for line in metrics[1].text.splitlines() if line.startswith("notellm_queue_tokens{")]
            queued = sum(float(line.rpartition(" ")[2]) for line in lines)
        try:
            status = Path(f"/proc/{process}/status").read_text().splitlines()
            held = dict(line.split(":", 1) for line in status)
            descriptors = len(list(Path(f"/proc/{process}/fd").iterdir()))
            resident, anonymous = (int(held[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
        except (OSError, KeyError):  # it has ended, or is ending
            return
        if life == self._site.life:
            self._seen.samples.append(
                Sample(
                    self._site.name, life, self._seen.now(), resident, anonymous, descriptors, int(held["Threads"]), queued,
                    live[0] if live else None,
                )
            )  # fmt: skip

    def _ask(self, kind: str, path: str) -> tuple[float, httpx.Response] | None:
        begun, answer = self._seen.now(), None
        with suppress(httpx.TransportError):
            answer = self._http.get(path, headers=self._site.headers(OPERATOR))
        self._seen.answered(self._site.name, kind, begun, answer)
        return (self._seen.now() - begun, answer) if answer is not None and answer.status_code == 200 else None
