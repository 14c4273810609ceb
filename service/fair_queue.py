"""`FairQueue`: pieces of work that wait, interactive before bulk, and fair between clients by the tokens that they ask for."""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from service.caller import Caller, Priority

Item = TypeVar("Item")
# What a token costs on a flow's clock: while both kinds wait, bulk work gets one token in seventeen, so that it never starves.
COSTS = {Priority.INTERACTIVE: 1, Priority.BULK: 16}
# Up to which multiple of the room that is still free a client's tokens may wait: alone, 4/5 of the queue, or half of it in bulk.
SHARES = {Priority.INTERACTIVE: 4, Priority.BULK: 1}
Flow = tuple[str, Priority]


@dataclass(order=True)
class Ticket(Generic[Item]):
    """A piece of work and its place."""

    time: float
    number: int
    item: Item = field(compare=False)
    tokens: int = field(compare=False)
    flow: Flow = field(compare=False)


class FairQueue(Generic[Item]):
    """Self-clocked fair queueing (Golestani, INFOCOM 1994) in a room shared by dynamic thresholds (Choudhury and Hahne, 1998).

    A client's work of one priority is a flow. Each flow has a clock that its tokens move on, and the earliest piece is next: who asks
    for much waits behind who asks for little. What a flow has waiting is limited by what is free, so that some room is always
    left for another.

    Args:
        max_tokens: that may wait.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._heap: list[Ticket[Item]] = []
        self._numbers = count()
        self._now = 0.0
        self._clocks: dict[Flow, float] = {}
        self._waiting: Counter[Flow] = Counter()
        self.tokens = 0
        """Tokens that wait, of all flows."""

    def __len__(self) -> int:
        return len(self._heap)

    def excess(self, tokens: int, caller: Caller) -> int:
        """How many tokens have to leave before there is room for a request; 0 if there is.

        An empty queue has room for anything: a request above every limit would otherwise never run.
        """
        if not self.tokens:
            return 0
        free = self._max_tokens - self.tokens
        own = self._waiting[caller.client, caller.priority]
        return max(tokens - free, own + tokens - SHARES[caller.priority] * free, 0)

    def tokens_until_done(self, tokens: int, caller: Caller) -> int:
        """About how many tokens run until a request of a caller has, itself included, if nothing comes after it.

        Interactive flows take turns; bulk work waits for all that is there.
        """
        flow = (caller.client, caller.priority)
        own = self._waiting[flow] + tokens
        if caller.priority is Priority.BULK:
            return self.tokens + tokens
        rivals = (waiting for other, waiting in self._waiting.items() if other != flow and other[1] is Priority.INTERACTIVE)
        return own + sum(min(waiting, own) for waiting in rivals)

    def push(self, item: Item, tokens: int, caller: Caller) -> Ticket[Item]:
        """Queues a piece of work, whether or not there is room."""
        flow = (caller.client, caller.priority)
        self._clocks[flow] = max(self._clocks.get(flow, 0.0), self._now) + tokens * COSTS[caller.priority]
        return self._add(Ticket(self._clocks[flow], next(self._numbers), item, tokens, flow))

    def push_first(self, item: Item) -> Ticket[Item]:
        """Queues a piece of work before all others, at no charge."""
        return self._add(Ticket(-1.0, next(self._numbers), item, 0, ("", Priority.INTERACTIVE)))

    def first(self) -> Ticket[Item]:
        """What is next; it stays.

        Raises:
            IndexError: nothing waits.
        """
        return self._heap[0]

    def pop(self) -> Ticket[Item]:
        """Takes what is next.

        Raises:
            IndexError: nothing waits.
        """
        ticket = heapq.heappop(self._heap)
        self._now = max(self._now, ticket.time)
        self._forget(ticket)
        return ticket

    def discard(self, tickets: Sequence[Ticket[Item]]) -> int:
        """Takes out pieces of work that nobody waits for any more, and returns how many of them were still there."""
        numbers = {ticket.number for ticket in tickets}
        gone = [ticket for ticket in self._heap if ticket.number in numbers]
        if not gone:
            return 0
        self._heap = [ticket for ticket in self._heap if ticket.number not in numbers]
        heapq.heapify(self._heap)
        for ticket in gone:
            self._forget(ticket)
        return len(gone)

    def _add(self, ticket: Ticket[Item]) -> Ticket[Item]:
        heapq.heappush(self._heap, ticket)
        self._waiting[ticket.flow] += ticket.tokens
        self.tokens += ticket.tokens
        return ticket

    def _forget(self, ticket: Ticket[Item]) -> None:
        self.tokens -= ticket.tokens
        self._waiting[ticket.flow] -= ticket.tokens
        if not self._waiting[ticket.flow]:  # its clock is not ahead of the others' any more
            del self._waiting[ticket.flow]
            self._clocks.pop(ticket.flow, None)
