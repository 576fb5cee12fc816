"""Logs of one JSON object per line. They hold no tokens, ciphertexts, keys or contents."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any

logger = logging.getLogger("cipherfit.serve")


class JsonFormatter(logging.Formatter):
    """Writes a record, and the fields that `event` gave it, as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            fields.update(_without_message(record.exc_info[1]))
        return json.dumps(fields)


def event(name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log what happened, with fields."""
    logger.log(level, name, extra={"fields": fields})


def failure(name: str, error: BaseException, **fields: Any) -> None:
    """Log an error that no one expected: its type and place, since its message may hold data."""
    event(name, level=logging.ERROR, **fields, **_without_message(error))


def log_to_stderr() -> None:
    """Send this service's logs, and uvicorn's, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in (logger.name, "uvicorn", "uvicorn.error"):
        one = logging.getLogger(name)
        one.handlers = [handler]
        one.setLevel(logging.INFO)
        one.propagate = False


def _without_message(error: BaseException) -> dict[str, Any]:
    places = [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return {"error": type(error).__name__, "at": places[-8:]}
