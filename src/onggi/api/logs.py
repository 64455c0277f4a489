"""The engine's own log: one line an event, `level message name=value …`, on stderr where journald or a terminal reads it."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Final

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_KNOWN: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """Fields given as `extra` follow the message; text with spaces or quotes is quoted, so that a value is never two."""

    def __init__(self, *, timed: bool) -> None:
        super().__init__()
        self._timed = timed

    def format(self, record: logging.LogRecord) -> str:
        parts = [
            f"level={record.levelname.lower()}",
            f"msg={_quoted(record.getMessage())}",
            f"room={_room(record.name)}",
        ]
        if self._timed:
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            parts.insert(0, f"time={moment}.{int(record.msecs):03d}Z")
        parts += [f"{name}={_quoted(str(value))}" for name, value in vars(record).items() if name not in _KNOWN]
        if record.exc_info:
            parts.append(f"trace={_quoted(self.formatException(record.exc_info))}")
        return " ".join(parts)


def _quoted(text: str) -> str:
    plain = text and all(letter.isalnum() or letter in "-_./:@+" for letter in text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "onggi" and len(parts) > 1 else parts[0]


def set_up(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    # journald writes its own time beside each line.
    handler.setFormatter(LineFormatter(timed="JOURNAL_STREAM" not in os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    logging.getLogger("asyncio").setLevel(max(_LEVELS[level], logging.WARNING))
