"""`Throughput`: how many tokens a second an engine gets through when it is busy, as measured."""

# Of what was measured before, this much still counts after a batch: the rate follows a change within two or three of them.
FADING = 0.5


class Throughput:
    """Learns from batches that left work behind: a small one takes nearly as long, and would make the engine look slow."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """Adds a batch that ended well while more was waiting."""
        self._tokens = FADING * self._tokens + tokens
        self._seconds = FADING * self._seconds + seconds

    def pace(self, tokens: int, seconds: float) -> float:
        """How many times longer work would take than now, had a batch just ended; 0 as long as nothing was measured.

        Args:
            tokens: of the batch.
            seconds: that it took.
        """
        if not self._tokens:
            return 0.0
        learnt = (FADING * self._seconds + seconds) / (FADING * self._tokens + tokens)
        return learnt * self._tokens / self._seconds

    def seconds(self, tokens: int) -> float:
        """How long tokens take; 0 as long as nothing was measured."""
        return tokens * self._seconds / self._tokens if self._tokens else 0.0
