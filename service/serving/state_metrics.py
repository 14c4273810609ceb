"""`StateCollector`: metrics of what the engine and the index are at the moment of a scrape, where nothing happens to be counted."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.engines import Engine
from service.index import NoteIndex


class StateCollector(Collector):
    """Asks nobody but this process and its file system, so that a scrape is answered while a server is away.

    A metric that does not apply (the disk of an index on a server) has its name and no value. The engine is that of the model that
    answers at the time.
    """

    def __init__(self, engine: Callable[[], Engine], index: NoteIndex) -> None:
        self._engine = engine
        self._index = index

    def collect(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        running = self._engine()
        engine, index = running.state(), self._index.state()
        yield GaugeMetricFamily("notellm_engine_up", "1 while the engine runs.", value=running.failure() is None)
        yield GaugeMetricFamily(
            "notellm_index_free_disk_bytes", "Free on the disk of the embedded index.", value=index.free_bytes
        )
        yield GaugeMetricFamily(
            "notellm_index_reserved_disk_bytes",
            "With less free, the embedded index takes no writes.",
            value=index.reserved_bytes,
        )
        breakers = GaugeMetricFamily(
            "notellm_breaker_open", "1 while a server is left alone after failures.", labels=["server"]
        )
        for server, left_alone in (*index.left_alone.items(), *engine.left_alone.items()):
            breakers.add_metric([server], left_alone)
        yield breakers
