"""What both clients share: their settings, which neighbours are wanted, and how answers to parts become one."""

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import httpx

from notellm.client.problems import ClientError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SECONDS = 120.0
IN_FLIGHT = 4
AnswerT = TypeVar("AnswerT")


class Wanted(TypedDict, total=False):
    """Which neighbours are wanted; docs/api.md explains each."""

    limit: int
    offset: int
    category: str
    hashtag: str
    created_after: datetime | str
    min_score: float
    diversity: float


@dataclass(frozen=True)
class Manner:
    """How a client asks.

    Attributes:
        api_key: sent with each request, if the service needs one.
        timeout: seconds for one request, with its repetitions and the pauses between them.
        in_flight: requests that one call of the client has under way at the same time.
        bulk: whether its work waits for that of people.
        patience: seconds after the first try in which the next may begin; None for `timeout`.
    """

    api_key: str | None = None
    timeout: float = SECONDS
    in_flight: int = IN_FLIGHT
    bulk: bool = False
    patience: float | None = None

    def __post_init__(self) -> None:
        if self.in_flight < 1 or not self.timeout > 0:
            raise ValueError(
                f"in_flight is {self.in_flight} and timeout is {self.timeout}: they must be at least 1 and above 0"
            )

    @property
    def headers(self) -> dict[str, str]:
        """Sent with each request."""
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {**key, **({"X-Priority": "bulk"} if self.bulk else {})}


def checked_url(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        ValueError: it is not an address.
    """
    try:
        usable = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not an address: {error}") from error
    if usable.scheme not in {"http", "https"} or not usable.host:
        raise ValueError(f"{url!r} is not an address: write it as http://127.0.0.1:8000")
    if usable.userinfo or usable.query or usable.fragment:
        raise ValueError("this is not the address of a service: leave out user, password and everything from ? or # on")
    return url.rstrip("/")


def listed(texts: Iterable[str], name: str) -> list[str]:
    """The texts.

    Raises:
        TypeError: it is one text, whose letters nobody means.
    """
    if isinstance(texts, str):
        raise TypeError(f"{name} is one text: give a list")
    return list(texts)


def neighbours_of(wanted: Wanted) -> dict[str, Any]:
    """The fields as they are sent."""
    fields: dict[str, Any] = dict(wanted)
    if isinstance(since := fields.get("created_after"), datetime):
        fields["created_after"] = since.isoformat()
    return fields


@contextmanager
def progress_bar(count: int, *, shown: bool) -> Iterator[Callable[[int], object]]:
    """A bar on standard error; yields what moves it on by some notes.

    Raises:
        ClientError: the package that draws it is not installed.
    """
    if not shown:
        yield lambda _: None
        return
    if importlib.util.find_spec("tqdm") is None:
        raise ClientError("progress needs the package tqdm: pip install tqdm, or leave progress out")
    from tqdm import tqdm  # noqa: PLC0415 - only for those who want it

    with tqdm(total=count, unit="note") as bar:
        yield bar.update


def collected(answers: Mapping[int, AnswerT]) -> list[AnswerT]:
    """The answers in the order of the notes."""
    return [answers[place] for place in sorted(answers)]


def as_array(vectors: Sequence[bytes]) -> "npt.NDArray[np.float32]":
    """Vectors as rows, (texts, dimensions); (0, 0) without any."""
    import numpy as np  # noqa: PLC0415 - only `encode` needs it

    rows = [np.frombuffer(vector, "<f4") for vector in vectors]
    return np.stack(rows).astype(np.float32) if rows else np.empty((0, 0), np.float32)
