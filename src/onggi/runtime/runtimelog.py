"""Where `onggi-runtime` says what went wrong: --log, --log-format and --debug, in runc's lines.

Engines read the last line with level error of a JSON log (containerd's shim, podman's conmon). Targets are runc's path and
crun's file:, syslog: and journald:.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final

from onggi.runtime.flags import Given, UsageError

_FORMATS: Final = ("text", "json")
_KINDS: Final = ("file", "syslog", "journald")
_PRIORITIES: Final = {"error": 3, "warning": 4, "debug": 7}
"""syslog(3)."""


class Log:
    """One program's log."""

    def __init__(self, kind: str, target: str, layout: str, *, debug: bool) -> None:
        self._kind, self._target, self._layout, self._debug = kind, target, layout, debug

    @classmethod
    def of(cls, options: Given) -> Log:
        """As the command line wants it. Raises UsageError."""
        layout = options.text("log-format")
        if layout not in _FORMATS:
            raise UsageError(f"invalid log-format: {layout}")
        kind, colon, target = options.text("log").partition(":")
        if not colon or "/" in kind:
            kind, target = "file", options.text("log")
        elif kind not in _KINDS:
            raise UsageError(f"unknown log type {kind!r}: use a path, file:PATH, syslog:NAME or journald:NAME")
        wanted = options.text("log-level")
        return cls(kind, target, layout, debug="debug" in options.switches or wanted == "debug")

    def error(self, message: str) -> None:
        """What ends the program. In a log of its own it is said to the person on stderr too."""
        if self._say("error", message):
            sys.stderr.write(message + "\n")

    def warning(self, message: str) -> None:
        self._say("warning", message)

    def debug(self, message: str) -> None:
        if self._debug:
            self._say("debug", message)

    def _say(self, level: str, message: str) -> bool:
        """True when it has gone somewhere else than to stderr."""
        if self._kind == "syslog":
            import syslog

            syslog.openlog(self._target)
            syslog.syslog(_PRIORITIES[level], message)
            return True
        if self._kind == "journald":
            return self._to_journal(level, message)
        line = self._line(level, message)
        if self._target not in {"", "/dev/stderr"}:
            try:
                with open(self._target, "a", encoding="utf-8") as log:
                    log.write(line)
            except OSError:
                sys.stderr.write(line)
                return False
            return True
        sys.stderr.write(line)
        return False

    def _line(self, level: str, message: str) -> str:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._layout == "json":
            import json

            return json.dumps({"level": level, "msg": message, "time": now}, separators=(",", ":")) + "\n"
        escaped = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'time="{now}" level={level} msg="{escaped}"\n'

    def _to_journal(self, level: str, message: str) -> bool:
        """Its native protocol: fields, one a line (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
        import socket

        text = message.replace("\n", " ")
        fields = f"MESSAGE={text}\nPRIORITY={_PRIORITIES[level]}\nSYSLOG_IDENTIFIER={self._target}\nOBJECT_PID={os.getpid()}\n"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            try:
                journal.sendto(fields.encode(), "/run/systemd/journal/socket")
            except OSError:
                sys.stderr.write(self._line(level, message))
                return False
        return True
