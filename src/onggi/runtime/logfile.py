"""A container's output as docker's json-file: one JSON object a line, rotated by size.

    {"log":"hello\\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}

Whole chunks are turned at once: between two lines of output stands always the same text, so that bytes.replace does the
work (one time for a chunk: it was read in one go). A line without its end waits for it; one of more than 16 KiB is cut into
entries without "\\n", as docker's copier does. Characters are escaped as docker's writer does it (moby,
daemon/logger/jsonfilelog/jsonlog/jsonlogbytes.go), so that a log is the same byte for byte, up to one difference: the
nanoseconds always have nine digits, so that an entry's time is at a fixed place from its end.

A log that can't be written (disk full) must not stop the container: what doesn't fit is dropped and counted, and an entry
is never left torn. As soon as there is room again the log says itself how much is missing at that place.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from onggi.kernel.faults import point
from onggi.runtime import rotation
from onggi.runtime.protocol import LogPlan

STDOUT: Final = 1
STDERR: Final = 2

PIECE_BYTES: Final = 16 * 1024
"""The longest entry, in bytes of output."""

_HEAD: Final = b'{"log":"'
_NAMES: Final = {STDOUT: b"stdout", STDERR: b"stderr"}

_SPECIAL: Final = {byte: b"\\u%04x" % byte for byte in [*range(0x20), *b"<>&"] if byte not in b"\n\r"} | {
    0x0D: b"\\r",
    0x22: b'\\"',
}
_BACKSLASH: Final = 0x5C
_PLAIN: Final = bytes(byte for byte in range(256) if byte not in _SPECIAL and byte != _BACKSLASH)
_LINE_SEPARATORS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


def _each_byte_replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    # Go decodes one byte at a time and writes this for each that is no character.
    return "\\ufffd" * (error.end - error.start), error.end


codecs.register_error("onggi.json-file", _each_byte_replaced)


def escape(output: bytes) -> bytes:
    """`output` as the inside of a JSON string; line feeds stay as they are.

    3 GB/s where nothing needs it: translate deletes all plain bytes, mostly everything.
    """
    special = output.translate(None, _PLAIN)
    if special:
        found = set(special)
        if _BACKSLASH in found:
            # First, as the others' replacements begin with one.
            output = output.replace(b"\\", b"\\\\")
            found.discard(_BACKSLASH)
        for byte in found:
            output = output.replace(bytes((byte,)), _SPECIAL[byte])
    if output.isascii():
        return output
    for character, text in _LINE_SEPARATORS:
        if character in output:
            output = output.replace(character, text)
    try:
        output.decode()
    except UnicodeDecodeError:
        return output.decode("utf-8", "onggi.json-file").encode()
    return output


class Clock:
    """Wall time as RFC 3339 with nanoseconds; the part down to the second is made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def text(self, now_ns: int) -> bytes:
        second, nanoseconds = divmod(now_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = b"%04d-%02d-%02dT%02d:%02d:%02d" % time.gmtime(second)[:6]
        return b"%s.%09dZ" % (self._text, nanoseconds)


def split(output: bytes) -> Iterator[tuple[bytes, bool]]:
    """Blocks of whole lines (True) and pieces of lines that are too long (False); the last block may lack its end."""
    position, length = 0, len(output)
    begin = 0
    while length - position > PIECE_BYTES:
        end = output.rfind(b"\n", position, position + PIECE_BYTES)
        if end >= 0:
            position = end + 1
            continue
        if position > begin:
            yield output[begin:position], True
        yield output[position : position + PIECE_BYTES], False
        position += PIECE_BYTES
        begin = position
    if begin < length:
        yield output[begin:], True


class LogFile:
    """The live file and those it was before. Not for `driver` none: there is no LogFile then.

    Raises OSError when the file can't be opened; nothing later raises.
    """

    def __init__(self, plan: LogPlan) -> None:
        self._path = plan.path
        self._max_size = plan.max_size
        self._max_file = max(plan.max_file, 1)
        self._compress = plan.compress
        self._compressing = 0
        attrs = b'"attrs":%s,' % msgspec.json.encode(plan.attrs) if plan.attrs else b""
        self._tails = {stream: b'","stream":"%s",%s"time":"' % (name, attrs) for stream, name in _NAMES.items()}
        self._waiting = {STDOUT: b"", STDERR: b""}
        self._clock = Clock()
        self._fd = -1
        self._size = 0
        self._missing_lines = 0
        self._trouble = ""
        self.lost_bytes = 0
        self._open()

    def write(self, stream: int, chunk: bytes) -> None:
        """Log what `stream` (STDOUT or STDERR) has given; the beginning of a line is kept for its end."""
        waiting = self._waiting[stream]
        end = chunk.rfind(b"\n") + 1
        if not end:
            waiting += chunk
            if len(waiting) >= PIECE_BYTES:
                whole = len(waiting) - len(waiting) % PIECE_BYTES
                self._log(stream, waiting[:whole])
                waiting = waiting[whole:]
            self._waiting[stream] = waiting
            return
        self._waiting[stream] = chunk[end:]
        if waiting:
            self._log(stream, waiting + chunk[:end])
        else:
            self._log(stream, chunk if end == len(chunk) else chunk[:end])
        if len(self._waiting[stream]) >= PIECE_BYTES:
            rest, self._waiting[stream] = self._waiting[stream], b""
            self.write(stream, rest)

    def end(self, stream: int) -> None:
        """`stream` has ended: what waits for the end of its line is logged without one."""
        waiting, self._waiting[stream] = self._waiting[stream], b""
        if waiting:
            self._log(stream, waiting)

    def position(self) -> tuple[int, int]:
        """Inode and size of the live file: what is logged from now on comes after it."""
        status = os.fstat(self._fd)
        return status.st_ino, status.st_size

    def close(self) -> None:
        for stream in _NAMES:
            self.end(stream)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _log(self, stream: int, output: bytes) -> None:
        point("shim.log.write")
        last = b'%s%s"}\n' % (self._tails[stream], self._clock.text(time.time_ns()))
        between = b"\\n%s%s" % (last, _HEAD)
        for block, lines in split(output):
            text = escape(block)
            if lines and text.endswith(b"\n"):
                self._append((_HEAD, text[:-1].replace(b"\n", between), b"\\n", last))
            else:
                self._append((_HEAD, text.replace(b"\n", between), last))

    def _append(self, parts: tuple[bytes, ...]) -> None:
        size = sum(map(len, parts))
        if self._max_size < 0 or self._size + size < self._max_size:
            self._write(parts, size)
            return
        # An entry that passes the limit is the file's last one, as with docker.
        entries = memoryview(data := b"".join(parts))
        begin = 0
        while begin < size:
            if self._size >= self._max_size:
                self._rotate()
            end = data.find(b"\n", min(begin + self._max_size - self._size, size) - 1) + 1
            self._write((entries[begin:end],), end - begin)
            begin = end

    def _write(self, parts: tuple[bytes | memoryview, ...], size: int) -> None:
        if self._missing_lines and not self._say_what_is_missing():
            self._lose(parts, size)
            return
        written = 0
        try:
            written = os.writev(self._fd, parts)
        except OSError as error:
            self._trouble = error.strerror or str(error)
        if written == size:
            self._size += size
            return
        if written:
            # Others may have cut the file (logrotate's copytruncate): only its end is known to be ours.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        self._lose(parts, size)

    def _lose(self, parts: tuple[bytes | memoryview, ...], size: int) -> None:
        self.lost_bytes += size
        self._missing_lines += sum(bytes(part).count(b"\n") for part in parts)

    def _say_what_is_missing(self) -> bool:
        """An entry in the place of those that are lost. False: there is still no room."""
        lines = self._missing_lines
        text = f"onggi: {lines} line{'s' * (lines != 1)} of output could not be written here: {self._trouble or 'no space'}"
        tail = b'\\n%s%s"}\n' % (self._tails[STDERR], self._clock.text(time.time_ns()))
        entry = _HEAD + escape(text.encode()) + tail
        try:
            written = os.write(self._fd, entry)
        except OSError as error:
            self._trouble = error.strerror or str(error)
            return False
        if written != len(entry):
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            return False
        self._size += written
        self._missing_lines = 0
        return True

    def _rotate(self) -> None:
        self._await_compression()
        try:
            rotation.shift(self._path, self._max_file)
        except OSError:
            return
        with contextlib.suppress(OSError):
            self._open()
        if self._compress and self._max_file > 1:
            with contextlib.suppress(OSError):
                self._compressing = rotation.compress_beside(f"{self._path}.1")

    def _await_compression(self) -> None:
        """The file before last has its place before the next one comes."""
        pid, self._compressing = self._compressing, 0
        if pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o640)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._size = os.fstat(fd).st_size
        if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
            # A power cut tore the last entry: the next one begins on a line of its own.
            self._size += os.write(fd, b"\n")
