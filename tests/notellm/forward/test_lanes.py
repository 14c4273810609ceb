import threading

import pytest
import torch

from notellm.forward.lanes import Lanes
from tests.clock import PATIENCE_SECONDS


def threads_elsewhere() -> int:
    """Torch's threads in a thread that is made now."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_each_lane_has_one_thread_and_nobody_else_is_changed() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        lanes = Lanes(2)
        assert lanes.map(lambda _: torch.get_num_threads(), range(6)) == [1] * 6
        assert torch.get_num_threads() == 3
        assert threads_elsewhere() == 3
    finally:
        torch.set_num_threads(before)


def test_jobs_run_side_by_side_and_their_results_keep_their_order() -> None:
    together = threading.Barrier(3)

    def job(number: int) -> tuple[int, bool]:
        together.wait(PATIENCE_SECONDS)  # nobody passes before all three are there
        return number, torch.is_inference_mode_enabled()

    assert Lanes(3).map(job, range(3)) == [(0, True), (1, True), (2, True)]


def test_a_job_that_fails_fails_its_call_only() -> None:
    lanes, begun, go_on = Lanes(1), [], threading.Event()

    def job(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise RuntimeError("no memory")
        assert number < 2 or go_on.wait(PATIENCE_SECONDS)
        return number

    with pytest.raises(RuntimeError, match="no memory"):
        lanes.map(job, range(50))
    go_on.set()
    assert lanes.map(job, [7]) == [7]
    assert begun in ([0, 1, 2, 7], [0, 1, 7]), "what still waited was given up"


def test_its_threads_end_with_it() -> None:
    before = set(threading.enumerate())
    lanes = Lanes(2)
    own = set(threading.enumerate()) - before
    assert len(own) == 2
    del lanes
    for thread in own:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
