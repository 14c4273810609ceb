"""An engine that waits until it is let go."""

import asyncio
import threading
from dataclasses import dataclass, field

from tests.clock import PATIENCE_SECONDS


@dataclass
class Gate:
    """Holds the engine back, and counts the prompts that it was given."""

    open: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)

    async def wait_until_entered(self) -> None:
        """Waits until the engine has begun with a batch."""
        assert await asyncio.to_thread(self.entered.wait, PATIENCE_SECONDS)
