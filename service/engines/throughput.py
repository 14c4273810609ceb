"""`Throughput`: the measured rate of a busy engine, in tokens per second."""

# Weight of all earlier measurements after each new batch: the rate follows a change within two or three batches.
FADING = 0.5


class Throughput:
    """Measures the rate from batches that left work waiting.

    A batch that empties the queue may be small. It takes nearly as long as a full one and would make the engine look slow.
    """

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """Adds a successful batch. Call it only if more work was waiting."""
        self._tokens = FADING * self._tokens + tokens
        self._seconds = FADING * self._seconds + seconds

    def pace(self, tokens: int, seconds: float) -> float:
        """Returns by which factor `seconds()` would change if this batch were added; 0 if nothing has been measured yet.

        Args:
            tokens: tokens of the batch.
            seconds: how long the batch took.
        """
        if not self._tokens:
            return 0.0
        learnt = (FADING * self._seconds + seconds) / (FADING * self._tokens + tokens)
        return learnt * self._tokens / self._seconds

    def seconds(self, tokens: int) -> float:
        """Returns how long this number of tokens takes; 0 if nothing has been measured yet."""
        return tokens * self._seconds / self._tokens if self._tokens else 0.0
