"""`FairQueue`: waiting work, interactive before bulk, shared fairly between clients according to their tokens."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from service.caller import Caller, Priority

Item = TypeVar("Item")
# The cost of a token on the clock of its priority. While both priorities wait, bulk work gets one token in seventeen, so it never starves.
COSTS = {Priority.INTERACTIVE: 1, Priority.BULK: 16}
# A client's waiting tokens may be at most this multiple of the free room: a client that is alone gets 4/5 of the queue, or half for bulk.
SHARES = {Priority.INTERACTIVE: 4, Priority.BULK: 1}


@dataclass(frozen=True)
class Ticket(Generic[Item]):
    """A piece of work and its place in the queue."""

    item: Item
    tokens: int
    number: int


@dataclass
class _Flow(Generic[Item]):
    """A client's waiting work of one priority, in order of arrival. `clock` is the virtual time at which its last served piece ended."""

    clock: float
    waiting: deque[Ticket[Item]] = field(default_factory=deque)
    tokens: int = 0

    @property
    def next_end(self) -> tuple[float, int]:
        return self.clock + self.waiting[0].tokens, self.waiting[0].number


@dataclass
class _Class(Generic[Item]):
    """All work of one priority. Its flows take turns by the same rule as the priorities do."""

    clock: float = 0.0
    now: float = 0.0
    flows: dict[str, _Flow[Item]] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(flow.tokens for flow in self.flows.values())

    def next_client(self) -> str:
        return min(self.flows, key=lambda client: self.flows[client].next_end)


class FairQueue(Generic[Item]):
    """Self-clocked fair queueing (Golestani, INFOCOM 1994), with room shared by dynamic thresholds (Choudhury and Hahne, 1998).

    The queue first chooses the priority and then one of its clients. Both times, it serves the piece of work that would end first if all
    took turns token by token: a client with much work waits behind a client with little. The free room limits how much work of one
    client may wait, so that some room is always left for other clients.

    Args:
        max_tokens: how many tokens may wait.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._numbers = count()
        self._now = 0.0
        self._first: deque[Ticket[Item]] = deque()
        self._classes: dict[Priority, _Class[Item]] = {priority: _Class() for priority in Priority}

    def __len__(self) -> int:
        flows = (flow for one in self._classes.values() for flow in one.flows.values())
        return len(self._first) + sum(len(flow.waiting) for flow in flows)

    @property
    def tokens(self) -> int:
        """Number of waiting tokens of all clients."""
        return sum(one.tokens for one in self._classes.values())

    def excess(self, tokens: int, caller: Caller) -> int:
        """Returns how many tokens must leave the queue before it has room for a request; 0 if it has room now.

        An empty queue has room for any request: otherwise, a request above the limit would never run.
        """
        if not self.tokens:
            return 0
        share = SHARES[caller.priority]
        free = self._max_tokens - self.tokens - tokens
        own = self._own(caller) + tokens
        return max(-free, math.ceil((own - share * free) / (share + 1)), 0)

    def tokens_until_done(self, tokens: int, caller: Caller) -> int:
        """Estimates how many tokens run until a caller's request is done, its own included, if no later work arrives.

        Clients of one priority take turns; bulk work also waits for all interactive work.
        """
        own = self._own(caller) + tokens
        rivals = (flow for client, flow in self._classes[caller.priority].flows.items() if client != caller.client)
        before = self._classes[Priority.INTERACTIVE].tokens if caller.priority is Priority.BULK else 0
        return before + own + sum(min(flow.tokens, own) for flow in rivals)

    def push(self, item: Item, tokens: int, caller: Caller) -> Ticket[Item]:
        """Queues a piece of work, even if there is no room."""
        one = self._classes[caller.priority]
        if not one.flows:
            one.clock = max(one.clock, self._now)
        ticket = Ticket(item, tokens, next(self._numbers))
        flow = one.flows.setdefault(caller.client, _Flow(one.now))
        flow.waiting.append(ticket)
        flow.tokens += tokens
        return ticket

    def push_first(self, item: Item) -> None:
        """Queues a piece of work before all others, without counting its tokens."""
        self._first.append(Ticket(item, 0, next(self._numbers)))

    def first(self) -> Ticket[Item]:
        """Returns the next piece of work without removing it.

        Raises:
            IndexError: the queue is empty.
        """
        if self._first:
            return self._first[0]
        one = self._classes[self._next_priority()]
        return one.flows[one.next_client()].waiting[0]

    def pop(self) -> Ticket[Item]:
        """Removes and returns the next piece of work.

        Raises:
            IndexError: the queue is empty.
        """
        if self._first:
            return self._first.popleft()
        priority = self._next_priority()
        one = self._classes[priority]
        client = one.next_client()
        flow = one.flows[client]
        one.now, _ = flow.next_end
        flow.clock = one.now
        ticket = flow.waiting.popleft()
        flow.tokens -= ticket.tokens
        self._now = one.clock = one.clock + ticket.tokens * COSTS[priority]
        if not flow.waiting:
            del one.flows[client]
        return ticket

    def discard(self, tickets: Sequence[Ticket[Item]], caller: Caller) -> int:
        """Removes pieces of a caller's work that nobody waits for any more, and returns how many were still in the queue."""
        flows = self._classes[caller.priority].flows
        flow = flows.get(caller.client)
        if flow is None:
            return 0
        numbers = {ticket.number for ticket in tickets}
        kept = deque(ticket for ticket in flow.waiting if ticket.number not in numbers)
        gone = len(flow.waiting) - len(kept)
        flow.waiting, flow.tokens = kept, sum(ticket.tokens for ticket in kept)
        if not kept:
            del flows[caller.client]
        return gone

    def _own(self, caller: Caller) -> int:
        flow = self._classes[caller.priority].flows.get(caller.client)
        return flow.tokens if flow else 0

    def _next_priority(self) -> Priority:
        waiting = {priority: one for priority, one in self._classes.items() if one.flows}
        if not waiting:
            raise IndexError("the queue is empty")
        return min(waiting, key=lambda priority: self._next_end(priority, waiting[priority]))

    def _next_end(self, priority: Priority, one: _Class[Item]) -> float:
        return one.clock + one.flows[one.next_client()].waiting[0].tokens * COSTS[priority]
