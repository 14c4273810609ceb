"""An engine that waits until it is let go."""

import threading
from dataclasses import dataclass, field


@dataclass
class Gate:
    """Holds the engine back, and counts the prompts that it was given."""

    open: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)
