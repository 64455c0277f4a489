"""`docker logs`: entries of a json-file log as the frames that clients read. Pure: bytes in, bytes out.

Which files, which part of them and when there is more: logfiles.py. Who writes them: runtime/logfile.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote_plus

import msgspec

_header = struct.Struct(">BxxxI").pack
_ENTRY_BEGINS: Final = b'{"log":"'


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What of a log is asked for. `tail` None is all; times are nanoseconds since 1970, 0 is no limit."""

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    timestamps: bool = False
    details: bool = False
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None


class Entry(msgspec.Struct):
    """One line of a json-file."""

    log: str
    stream: str = "stdout"
    time: str = ""
    attrs: dict[str, str] | None = None


class _Text(msgspec.Struct):
    """What a plain read needs of an entry; the decoder skips the rest."""

    log: str
    stream: str = "stdout"


_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_entries = msgspec.json.Decoder(Entry).decode_lines
_decode_texts = msgspec.json.Decoder(_Text).decode_lines


def time_text(time_ns: int) -> str:
    """RFC 3339 in UTC with nine digits: texts of this form are ordered as their times are."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def full_time(text: str) -> str:
    """An entry's time with nine digits in UTC; docker's writer leaves zeros at the end out."""
    if len(text) == 30 and text.endswith("Z"):
        return text
    if text.endswith("Z"):
        seconds, _, fraction = text[:-1].partition(".")
        return f"{seconds}.{fraction:0<9.9}Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return time_text(int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000)


class Renderer:
    """Turns whole lines of a log into what the client reads: frames, or with a tty the text alone."""

    def __init__(self, options: LogOptions, *, tty: bool) -> None:
        self._options = options
        self._framed = not tty
        self._since = time_text(options.since_ns) if options.since_ns else ""
        self._until = time_text(options.until_ns) if options.until_ns else ""
        self._streams = {"stdout": 1} if options.stdout else {}
        if options.stderr:
            self._streams["stderr"] = 2
        self._plain = not (options.timestamps or options.details or self._since or self._until)
        self.past_until = False

    def render(self, lines: bytes) -> bytes:
        """What `lines` (each with its end) are for the client. A line that is no entry is skipped (R-22)."""
        try:
            return self._texts(_decode_texts(lines)) if self._plain else self._entries(_decode_entries(lines))
        except msgspec.DecodeError:
            return self._entries(_salvage(lines))

    def _texts(self, texts: list[_Text]) -> bytes:
        streams = self._streams
        if not self._framed:
            return "".join([text.log for text in texts if text.stream in streams]).encode()
        parts: list[bytes] = []
        append = parts.append
        for text in texts:
            number = streams.get(text.stream)
            if number is not None:
                data = text.log.encode()
                append(_header(number, len(data)))
                append(data)
        return b"".join(parts)

    def _entries(self, entries: list[Entry]) -> bytes:
        parts: list[bytes] = []
        for entry in entries:
            number = self._streams.get(entry.stream)
            if number is None or not self._in_time(entry):
                continue
            text = entry.log
            if self._options.details:
                text = f"{_attributes(entry.attrs)} {text}"
            if self._options.timestamps:
                text = f"{full_time(entry.time)} {text}"
            data = text.encode()
            if self._framed:
                parts.append(_header(number, len(data)))
            parts.append(data)
        return b"".join(parts)

    def _in_time(self, entry: Entry) -> bool:
        if not self._since and not self._until:
            return True
        time = full_time(entry.time)
        if self._until and time > self._until:
            self.past_until = True
            return False
        return time >= self._since


def _attributes(attrs: dict[str, str] | None) -> str:
    return ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in sorted((attrs or {}).items()))


def _salvage(lines: bytes) -> list[Entry]:
    entries: list[Entry] = []
    for line in lines.split(b"\n"):
        entry = _entry(line)
        # Quotes in a text are escaped: these bytes are where an entry begins, also behind one that is torn.
        begin = line.rfind(_ENTRY_BEGINS)
        if entry is None and begin >= 0:
            entry = _entry(line[begin:])
        if entry is not None:
            entries.append(entry)
    return entries


def _entry(line: bytes) -> Entry | None:
    try:
        return _decode_entry(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
