from collections.abc import Awaitable, Callable

import pytest

from tests.notellm.client.behaviour import CLAIMS
from tests.notellm.client.both import Both


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
async def test_it(claim: Callable[[Both], Awaitable[None]]) -> None:
    await claim(Both("async"))
