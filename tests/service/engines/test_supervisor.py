import asyncio

import pytest

from service.engines.supervisor import Supervisor
from service.errors import EngineUnavailable


class Thing:
    alive = True


@pytest.mark.usefixtures("virtual_time")
async def test_what_ends_by_itself_is_started_again_even_if_it_does_not_end_well() -> None:
    started: list[Thing] = []

    async def start() -> Thing:
        if len(started) == 1 and not tries:
            tries.append(1)
            raise RuntimeError("not yet")
        started.append(Thing())
        return started[-1]

    async def stop(thing: Thing) -> None:
        raise RuntimeError("already gone")

    tries: list[int] = []
    restarts: list[int] = []
    supervisor = Supervisor[Thing](
        "thing", start, stop, lambda thing: thing.alive, restarted=lambda: restarts.append(1), check_seconds=0.01
    )
    with pytest.raises(EngineUnavailable, match="is being started"):
        supervisor.get()
    await supervisor.open()
    assert supervisor.get() is started[0]
    assert supervisor.failure is None
    started[0].alive = False
    assert supervisor.failure == "thing ended by itself and is about to be started again"
    await asyncio.sleep(0.2)
    with pytest.raises(EngineUnavailable, match=r"could not be started again \(RuntimeError\), next try in 1 s"):
        supervisor.get()
    await asyncio.sleep(1.2)
    assert supervisor.get() is started[1]
    assert len(restarts) == 2
