"""A hijacked stream at the user's terminal or pipes: keys and files in, output to stdout and stderr.

One loop over what is readable; a detach sequence ends our side and leaves the container running.
"""

from __future__ import annotations

import os
import select
import sys

from onggi.cli import terminal
from onggi.client.call import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.sync import Connection

DEFAULT_KEYS = "ctrl-p,ctrl-q"


def keys_of(options: Options, context: Context) -> str:
    """--detach-keys, else the configuration's detachKeys. Raises Exit for what are no keys."""
    from onggi.cli.command import Exit

    keys = options.text("detach-keys") or context.config.text("detachKeys")
    try:
        detach_bytes(keys)
    except ValueError:
        raise Exit(1, f"invalid detach keys ({keys}): Unknown character: '{_unknown(keys)}'") from None
    return keys


def _unknown(keys: str) -> str:
    for word in keys.split(","):
        try:
            detach_bytes(word)
        except ValueError:
            return word
    return keys


def detach_bytes(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as bytes. Raises ValueError."""
    found = bytearray()
    for word in (text or DEFAULT_KEYS).split(","):
        if len(word) == 1:
            found += word.encode()
        elif word.startswith("ctrl-") and len(word) == 6 and (word[5].isalpha() or word[5] in "@[\\]^_"):
            found.append(ord(word[5].lower()) & 0x1F)
        else:
            raise ValueError(f"invalid detach keys ({text}) provided")
    return bytes(found)


class Detached(Exception):
    """The user typed the detach keys."""


class _Keys:
    """Finds the detach sequence over several reads; what was only its beginning is passed on."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence, self._seen = sequence, 0

    def pass_on(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if byte == self._sequence[self._seen]:
                self._seen += 1
                if self._seen == len(self._sequence):
                    raise Detached
                continue
            out += self._sequence[: self._seen]
            self._seen = 1 if byte == self._sequence[0] else 0
            if not self._seen:
                out.append(byte)
        return bytes(out)


class _Typing:
    """What is typed or piped in, on its way to the engine: one piece at most waits here.

    Never waits for the engine: it may wait for us to read what the container says about the last piece.
    """

    def __init__(self, connection: Connection, keys: _Keys | None, source: int) -> None:
        self._connection, self._keys = connection, keys
        self.source = source
        """The descriptor to read; -1 when there is no more."""
        self.waiting = b""

    def read(self) -> None:
        """Raises Detached."""
        typed = os.read(self.source, 65536)
        if not typed:
            self.source = -1
            self._connection.close_write()
            return
        self.waiting = self._keys.pass_on(typed) if self._keys else typed
        self.send()

    def send(self) -> None:
        try:
            sent = self._connection.send_some(self.waiting)
        except (BrokenPipeError, ConnectionResetError):  # nobody reads it any more; there may be output still
            self.source, self.waiting = -1, b""
            return
        self.waiting = self.waiting[sent:]


def pump(connection: Connection, *, tty: bool, stdin: bool, detach_keys: str = "", raw: bool = False) -> None:
    """Until the engine ends the stream. Raises Detached, which only a terminal can bring about."""
    split = frames() if not tty else None
    typing = _Typing(connection, _Keys(detach_bytes(detach_keys)) if raw else None, sys.stdin.fileno() if stdin else -1)
    if connection.has_early():
        _write(connection.receive(), split)
    while True:
        ready = _ready(connection, typing)
        events = ready.get(connection.socket.fileno(), 0)
        if events & ~select.POLLOUT:
            data = connection.receive()
            if not data:
                return
            _write(data, split)
        if events & select.POLLOUT:
            typing.send()
        if typing.source in ready:
            typing.read()


def _ready(connection: Connection, typing: _Typing) -> dict[int, int]:
    poll = select.poll()
    poll.register(connection.socket, select.POLLIN | (select.POLLOUT if typing.waiting else 0))
    if typing.source >= 0 and not typing.waiting:
        poll.register(typing.source, select.POLLIN)
    return dict(poll.poll())


def _write(data: bytes, split: object) -> None:
    if split is None:
        _all(1, data)
        return
    for stream, piece in split(data):  # type: ignore[operator]
        _all(2 if stream == 2 else 1, piece)


def _all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def check_tty(*, tty: bool, interactive: bool) -> None:
    """Docker's refusal of -it without a terminal. Raises Exit."""
    if tty and interactive and not terminal.is_terminal(sys.stdin.fileno()):
        from onggi.cli.command import Exit

        raise Exit(1, "the input device is not a TTY")
