"""`open_tracing`: sends spans to a collector if OpenTelemetry's own environment variables ask for it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.errors import StartupError

if TYPE_CHECKING:
    from service.observability.spans import Tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SAMPLERS = {prefix + name for prefix in ("", "parentbased_") for name in ("always_on", "always_off", "traceidratio")}


@asynccontextmanager
async def open_tracing() -> AsyncIterator["Tracing | None"]:
    """Yields the maker of spans if the environment asks for traces, else None. Sends the remaining spans at the end.

    Raises:
        StartupError: a variable has an invalid or unsupported value, or the packages for tracing are not installed.
    """
    if not _asked_for():
        yield None
        return
    _check()
    try:
        from service.observability.spans import Tracing, exporter
    except ModuleNotFoundError as error:
        raise StartupError(
            f"{_first(_ENDPOINTS)[0]} is set, but {error.name} is not installed: pip install 'notellm[tracing]', or set "
            "OTEL_TRACES_EXPORTER=none"
        ) from error
    try:
        tracing = Tracing(exporter())
    except ValueError as error:
        raise StartupError(f"an OTEL_ variable is wrong: {error}") from error
    try:
        yield tracing
    finally:
        await tracing.close()


def _asked_for() -> bool:
    off = _value("OTEL_SDK_DISABLED").lower() == "true" or _value("OTEL_TRACES_EXPORTER") == "none"
    return not off and bool(_first(_ENDPOINTS)[1])


def _check() -> None:
    """Raises `StartupError` for values that OpenTelemetry would replace by others, or with which it would lose every span."""
    name, endpoint = _first(_ENDPOINTS)
    if urlsplit(endpoint).scheme not in {"http", "https"}:
        raise StartupError(
            f"{name}: must begin with http:// or https://; spans are sent as OTLP over HTTP, usually to port 4318"
        )
    wanted = {
        "OTEL_TRACES_EXPORTER": {"otlp"},
        _first(_PROTOCOLS)[0]: {"http/protobuf"},
        "OTEL_TRACES_SAMPLER": _SAMPLERS,
    }
    for variable, known in wanted.items():
        if (value := _value(variable)) and value not in known:
            raise StartupError(f"{variable}: {value} is not supported; supported: {', '.join(sorted(known))}")


def _first(names: tuple[str, str]) -> tuple[str, str]:
    """Returns the first of the variables that is set, with its value. If none is, returns the last one and an empty value."""
    return next(((name, _value(name)) for name in names if _value(name)), (names[-1], ""))


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()
