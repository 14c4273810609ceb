"""Logging: one JSON object per line, with the request's id. Texts of notes, their ids, and keys are never logged."""

import logging
import logging.config
import re
from typing import Any

from pythonjsonlogger import json
from pythonjsonlogger.core import RESERVED_ATTRS

from service.observability.requests import request_id
from service.observability.tracebacks import format_exception
from service.observability.tracing import trace_id

_TALKATIVE = ("httpx", "httpx2", "httpcore", "urllib3", "qdrant_client", "grpc", "transformers")


class RequestIdFilter(logging.Filter):
    """Adds `request_id` to every record, and `trace_id` if the request is traced."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record through."""
        record.request_id = request_id.get()
        if traced := trace_id.get():
            record.trace_id = traced
        return True


class AsyncioFilter(logging.Filter):
    """Cuts asyncio's reports of lost errors to their kind. The rest shows arguments, results and messages of exceptions."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record through."""
        if record.name == "asyncio" and record.levelno >= logging.ERROR:
            record.msg, record.args = re.split(r"[\n(<{]", record.getMessage(), maxsplit=1)[0], ()
        return True


class _Discreet(logging.Formatter):
    """Formats exceptions without their messages."""

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802
        """See `logging.Formatter.formatException`."""
        return format_exception(ei[1]) if ei[1] else ""


class JsonFormatter(_Discreet, json.JsonFormatter):
    """One JSON object per line."""


class TextFormatter(_Discreet):
    """Plain text for a terminal."""


def logging_config(level: str, log_format: str) -> dict[str, Any]:
    """Returns a configuration for `logging.config.dictConfig`, for the service and uvicorn."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestIdFilter}, "asyncio": {"()": AsyncioFilter}},
        "formatters": {
            "json": {
                "()": JsonFormatter,
                "format": "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s",
                "reserved_attrs": [*RESERVED_ATTRS, "color_message"],
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
            },
            "text": {"()": TextFormatter, "format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"},
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": log_format, "filters": ["request_id", "asyncio"]}
        },
        "root": {"level": level, "handlers": ["stderr"]},
        # OpenTelemetry warns about headers that it cannot read, and its warning quotes them.
        "loggers": {name: {"level": "WARNING"} for name in _TALKATIVE} | {"opentelemetry.trace": {"level": "ERROR"}},
    }


def configure_logging(level: str, log_format: str) -> None:
    """Applies `logging_config` to this process."""
    logging.config.dictConfig(logging_config(level, log_format))
