"""`Lanes`: threads that each compute by themselves, side by side, instead of all together on one product after another."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def _compute_alone() -> None:
    torch.get_num_threads()  # torch gives a thread the common number the first time that it is asked, whatever was set before
    torch.set_num_threads(1)


class Lanes:
    """As many forward passes at the same time, each in one thread of OpenMP's.

    Threads that share a pass wait for each other behind every product and every step between products, hundreds of times a pass;
    threads with passes of their own wait once, at the end. The passes read the same weights.

    Args:
        count: threads. They end when this object is collected.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        # torch takes what one thread sets as the default of all later ones, so that it is set back once all lanes have started.
        threads, started = torch.get_num_threads(), threading.Barrier(count)
        self._executor = ThreadPoolExecutor(count, "lane", initializer=_compute_alone)
        list(self._executor.map(lambda _: started.wait(), range(count)))
        torch.set_num_threads(threads)

    def map(self, function: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
        """The results in the order of the jobs, which are begun in that order.

        Raises:
            Exception: the first that a job raised, once the jobs that run have ended; those that wait are given up.
        """
        futures = [self._executor.submit(torch.inference_mode()(function), job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
