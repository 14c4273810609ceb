"""`CompletionsClient`: asks the `/v1/completions` of a `vllm serve` by token ids, patiently and for a limited time."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from service.breaker import CircuitBreaker
from service.errors import EngineUnavailable

logger = logging.getLogger(__name__)

ATTEMPTS = 3
LONGEST_PAUSE_SECONDS = 2.0
CONNECT_SECONDS = 5.0
# The server is busy or on its way out: another try may be answered.
PASSING = {
    HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT,
}  # fmt: skip


class Refused(Exception):
    """The server understood the request and does not do it; a second try would not help."""


@dataclass(frozen=True)
class Completion:
    """What a server has written.

    Attributes:
        ids: tokens, the end of sequence included.
        log_probabilities: of each.
        likeliest: log-probabilities of the tokens that were asked for, at each position.
    """

    ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    likeliest: tuple[Mapping[int, float], ...]


class CompletionsClient:
    """One server. Requests are greedy, so that asking again is harmless.

    Args:
        url: of the server, without `/v1`.
        api_key: sent as a bearer token.
        timeout_seconds: longest wait for an answer.
        connections: most requests at the same time; connections are kept.
    """

    def __init__(self, url: str, api_key: str | None, *, timeout_seconds: float, connections: int) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._client = httpx.AsyncClient(
            base_url=f"{self._url}/v1/",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )
        self._breaker = CircuitBreaker(self._url, EngineUnavailable, failures=5, pause_seconds=5)

    async def models(self) -> list[str]:
        """The names under which the server knows its models.

        Raises:
            EngineUnavailable: it does not answer.
            Refused: it answers something else.
        """
        answer = await self._send("GET", "models")
        try:
            return [str(model["id"]) for model in answer["data"]]
        except (KeyError, TypeError) as error:
            raise Refused(f"{self._url}/v1/models gives no list of models") from error

    async def complete(self, model: str, prompt: Sequence[int], max_tokens: int, **options: object) -> Completion:
        """Continues a prompt, greedily.

        Args:
            model: its name at the server.
            prompt: token ids.
            max_tokens: most new ones.
            options: further fields of the request.

        Raises:
            EngineUnavailable: the server does not answer, even after a few tries.
            Refused: it does not do it.
        """
        body = {
            "model": model, "prompt": list(prompt), "max_tokens": max_tokens, "temperature": 0, "logprobs": 0,
            "return_token_ids": True, "return_tokens_as_token_ids": True, "skip_special_tokens": False,
        } | options  # fmt: skip
        answer = await self._send("POST", "completions", body)
        try:
            return _read(answer["choices"][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise Refused(f"{self._url} does not answer with token ids and log-probabilities: is it vLLM?") from error

    @property
    def left_alone(self) -> bool:
        """Whether requests are refused at once after failures; it stays so until one is answered."""
        return self._breaker.open

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _send(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401
        attempts = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE_SECONDS),
            retry=retry_if_exception_type(EngineUnavailable),
            reraise=True,
        )
        with self._breaker.call():
            async for attempt in attempts:
                with attempt:
                    return await self._send_once(method, path, body)
        raise AssertionError("the last attempt raises")

    async def _send_once(self, method: str, path: str, body: Mapping[str, object] | None) -> Any:  # noqa: ANN401
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            problem = str(error) or type(error).__name__
            raise EngineUnavailable(f"{self._url} does not answer ({problem}): try again") from error
        if response.status_code in PASSING:
            raise EngineUnavailable(f"{self._url} answers {response.status_code}: try again")
        if response.is_error:
            raise Refused(f"{self._url} answers {response.status_code}: {response.text[:500]}")
        try:
            return response.json()
        except json.JSONDecodeError as error:
            raise Refused(f"{self._url}/v1/{path} does not answer in JSON: is it a `vllm serve`?") from error


def _read(choice: Mapping[str, Any]) -> Completion:
    logs = choice["logprobs"]
    likeliest = tuple(
        {int(name.removeprefix("token_id:")): float(value) for name, value in position.items()}
        for position in logs["top_logprobs"] or ()
    )
    ids = tuple(map(int, choice["token_ids"]))
    log_probabilities = tuple(map(float, logs["token_logprobs"]))
    if len(ids) != len(log_probabilities):
        raise ValueError(f"{len(ids)} tokens with {len(log_probabilities)} log-probabilities")
    return Completion(ids, log_probabilities, likeliest)
