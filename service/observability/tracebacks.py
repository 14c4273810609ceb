"""Tracebacks for the log, without what foreign exceptions say: a message may quote the text or the key that it complains about."""

import traceback

from notellm.errors import NoteLLMError
from service.errors import ServiceError, StartupError

# What the operating system, memory and torch (`RuntimeError`) complain about is not what clients sent.
_HARMLESS = (NoteLLMError, ServiceError, StartupError, OSError, MemoryError, RuntimeError)


def format_exception(error: BaseException) -> str:
    """Frames, types and harmless messages of an exception and of those that led to it, oldest first."""
    return "\n".join(_lines(error, set()))


def _lines(error: BaseException, seen: set[int]) -> list[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [*_lines(before, seen), "", "which led to:", ""] if before is not None and id(before) not in seen else []
    lines.append("Traceback (most recent call last):")
    lines += [line.rstrip("\n") for line in traceback.format_tb(error.__traceback__)]
    lines.append(_summary(error))
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            lines += ["", "member:", *_lines(member, seen)]
    return lines


def _summary(error: BaseException) -> str:
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    # Some kinds are harmless and a ValueError at once; a pydantic error quotes what it was given.
    harmless = isinstance(error, _HARMLESS) and not isinstance(error, ValueError | BaseExceptionGroup)
    return f"{kind}: {error}" if harmless else kind
