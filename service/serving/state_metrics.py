"""`StateCollector`: metrics that are read from the engine and the index at each scrape, instead of being counted."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.engines import Engine
from service.index import NoteIndex


class StateCollector(Collector):
    """Asks only this process and its file system, so that a scrape is answered even if a server is down.

    A metric that does not apply, such as the disk of an index on a server, has no value. The engine is that of the model that answers
    at the time of the scrape.
    """

    def __init__(self, engine: Callable[[], Engine], index: NoteIndex) -> None:
        self._engine = engine
        self._index = index

    def collect(self) -> Iterator[Metric]:
        """Returns the metrics for Prometheus."""
        running = self._engine()
        engine, index = running.state(), self._index.state()
        yield GaugeMetricFamily("notellm_engine_up", "1 while the engine runs.", value=running.failure() is None)
        yield GaugeMetricFamily(
            "notellm_index_free_disk_bytes", "Free bytes on the disk of the embedded index.", value=index.free_bytes
        )
        yield GaugeMetricFamily(
            "notellm_index_reserved_disk_bytes",
            "If fewer bytes are free, the embedded index refuses writes.",
            value=index.reserved_bytes,
        )
        breakers = GaugeMetricFamily(
            "notellm_breaker_open",
            "1 while calls to a server are refused at once, after it has failed repeatedly.",
            labels=["server"],
        )
        for server, left_alone in (*index.left_alone.items(), *engine.left_alone.items()):
            breakers.add_metric([server], left_alone)
        yield breakers
