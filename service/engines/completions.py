"""`CompletionsClient`: sends token ids to `/v1/completions` of a `vllm serve`, with retries and a time limit."""

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
# The server is busy or shutting down: another try may succeed.
PASSING = {
    HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT,
}  # fmt: skip


class Refused(Exception):
    """The server refuses the request or gives a wrong answer; another try would not help."""


@dataclass(frozen=True)
class Completion:
    """A completion by the server.

    Attributes:
        ids: token ids, the end of sequence included.
        log_probabilities: log-probability of each token in `ids`.
        likeliest: for each position, the log-probabilities of the requested tokens, by token id.
    """

    ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    likeliest: tuple[Mapping[int, float], ...]


class CompletionsClient:
    """A client of one server. Requests are greedy, so it is safe to repeat them.

    Args:
        url: address of the server, with or without `/v1`.
        api_key: sent as a bearer token; None sends no key.
        timeout_seconds: longest wait for an answer.
        connections: limit of simultaneous requests. The connections are kept open.
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
        """Returns the names of the server's models.

        Raises:
            EngineUnavailable: the server does not answer.
            Refused: the answer is not a list of models.
        """
        answer = await self._send("GET", "models")
        try:
            return [str(model["id"]) for model in answer["data"]]
        except (KeyError, TypeError) as error:
            raise Refused(f"{self._url}/v1/models does not return a list of models") from error

    async def complete(self, model: str, prompt: Sequence[int], max_tokens: int, **options: object) -> Completion:
        """Continues a prompt, greedily.

        Args:
            model: name of the model at the server.
            prompt: token ids.
            max_tokens: limit of new tokens.
            options: further fields of the request.

        Raises:
            EngineUnavailable: the server does not answer, even after several tries.
            Refused: the server refuses the request or gives a wrong answer.
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
        """Whether requests are refused at once after failures of the server. This lasts until the server answers a request."""
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
