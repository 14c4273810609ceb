"""Tracebacks for the log, without the messages of other libraries' exceptions, which may quote a text or key."""

import traceback

from notellm.errors import NoteLLMError
from service.errors import ServiceError, StartupError

# Messages of these are safe: ours quote nothing secret, and those of the operating system, memory and torch (`RuntimeError`) are
# not about the content of requests.
_HARMLESS = (NoteLLMError, ServiceError, StartupError, OSError, MemoryError, RuntimeError)


def format_exception(error: BaseException) -> str:
    """Formats an exception and those that led to it, oldest first: frames, types, and the messages that are safe to log."""
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
    # A class may inherit from both a harmless type and ValueError; a pydantic error, for example, quotes its input.
    harmless = isinstance(error, _HARMLESS) and not isinstance(error, ValueError | BaseExceptionGroup)
    return f"{kind}: {error}" if harmless else kind
