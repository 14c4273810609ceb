"""`Lanes`: threads that each run their own forward pass, instead of working together on one pass after another."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def _compute_alone() -> None:
    torch.get_num_threads()  # a thread's first call of this resets its number of threads to the default, so it must come first
    torch.set_num_threads(1)


class Lanes:
    """Runs several forward passes at the same time, each on one thread.

    Threads that share a pass wait for each other after every matrix product and every step between products, hundreds of times per
    pass. Threads with their own passes wait for each other once, at the end. All passes read the same weights.

    Args:
        count: number of threads. They end when this object is garbage-collected.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        # What one thread sets becomes torch's default for all later threads, so it is set back once all lanes have started.
        threads, started = torch.get_num_threads(), threading.Barrier(count)
        self._executor = ThreadPoolExecutor(count, "lane", initializer=_compute_alone)
        list(self._executor.map(lambda _: started.wait(), range(count)))
        torch.set_num_threads(threads)

    def map(self, function: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
        """Runs the jobs, starting them in their order, and returns the results in the same order.

        Raises:
            Exception: a job raised it. Jobs that have not started are cancelled.
        """
        futures = [self._executor.submit(torch.inference_mode()(function), job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
