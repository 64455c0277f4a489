"""Bytes between an exec's descriptors and a client's socket: docker's frames out, plain bytes in.

One object for one exec. A client that reads slowly stops our reading, so the process waits at its pipe; one that goes away
ends nothing: output is read and dropped then, and the process goes on (E-050).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Collection

_FRAME = struct.Struct(">BxxxI")
_READ = 64 * 1024
_FULL = 1 << 20
"""Bytes for the client that may wait here before reading stops."""
_LINGER_S = 5.0
"""How long what a client still sends is read and dropped after the end: closed with bytes unread, the socket is reset."""


class Pump:
    """`outputs` is stream number → descriptor, `stdin` the process's input or None; all are the pump's to close.

    Without `framed` (the default with a `tty`) the client gets bytes as they are, and only of the streams in `told`.
    `done` is set when every output has ended and the client has got it all (or is gone).
    """

    def __init__(
        self,
        client: socket.socket | None,
        outputs: dict[int, int],
        stdin: int | None,
        *,
        tty: bool,
        framed: bool | None = None,
        told: Collection[int] = (1, 2),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._client, self._outputs, self._stdin, self._tty = client, outputs, stdin, tty
        self._framed = not tty if framed is None else framed
        self._told = told
        self._out = bytearray()
        self._in = bytearray()
        self._reading: set[int] = set()
        self._client_reading = False
        self._client_writing = False
        self._stdin_writing = False
        self._over = False
        self.done = asyncio.Event()
        for fd in (*outputs.values(), *([stdin] if stdin is not None else [])):
            os.set_blocking(fd, False)
        if client is not None:
            client.setblocking(False)
            self._read_client(on=stdin is not None)
        self._update()

    def _update(self) -> None:
        """Who is listened to now: outputs while there is room, the client while the process takes its input."""
        for stream, fd in self._outputs.items():
            want = len(self._out) < _FULL
            if want and stream not in self._reading:
                self._reading.add(stream)
                self._loop.add_reader(fd, self._output, stream, fd)
            elif not want and stream in self._reading:
                self._reading.discard(stream)
                self._loop.remove_reader(fd)
        if not self._outputs and not self._out:
            self._finish()

    def _output(self, stream: int, fd: int) -> None:
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal whose other end is closed
                raise
            data = b""
        if data:
            if self._client is not None and stream in self._told:
                self._out += data if not self._framed else _FRAME.pack(stream, len(data)) + data
                self._flush_out()
        else:
            self._loop.remove_reader(fd)
            self._reading.discard(stream)
            del self._outputs[stream]
            if fd != self._stdin:
                os.close(fd)
        self._update()

    def _flush_out(self) -> None:
        if self._client is None:
            return
        try:
            while self._out:
                del self._out[: self._client.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop_client()
            return
        waiting = bool(self._out)
        if waiting != self._client_writing:
            self._client_writing = waiting
            if waiting:
                self._loop.add_writer(self._client.fileno(), self._client_writable)
            else:
                self._loop.remove_writer(self._client.fileno())

    def _client_writable(self) -> None:
        self._flush_out()
        self._update()

    def _read_client(self, *, on: bool) -> None:
        if self._client is None or on == self._client_reading:
            return
        self._client_reading = on
        if on:
            self._loop.add_reader(self._client.fileno(), self._input)
        else:
            self._loop.remove_reader(self._client.fileno())

    def _input(self) -> None:
        if self._client is None:
            return
        try:
            data = self._client.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            self._drop_client()
            return
        if not data:
            self._read_client(on=False)
            self._end_stdin_when_empty = True
            if not self._in:
                self._close_stdin()
            return
        self._in += data
        self._flush_in()

    _end_stdin_when_empty = False

    def _flush_in(self) -> None:
        if self._stdin is None:
            self._in.clear()
            return
        try:
            while self._in:
                del self._in[: os.write(self._stdin, self._in)]
        except BlockingIOError:
            pass
        except OSError:  # the process has closed its stdin: what comes is dropped
            self._in.clear()
        waiting = bool(self._in)
        if waiting != self._stdin_writing:
            self._stdin_writing = waiting
            self._read_client(on=not waiting and not self._end_stdin_when_empty)
            if waiting:
                self._loop.add_writer(self._stdin, self._flush_in)
            else:
                self._loop.remove_writer(self._stdin)
        if not waiting and self._end_stdin_when_empty:
            self._close_stdin()

    def _close_stdin(self) -> None:
        # A terminal has one descriptor for both ways: its end is the process's.
        if self._stdin is not None and not self._tty:
            if self._stdin_writing:
                self._loop.remove_writer(self._stdin)
                self._stdin_writing = False
            os.close(self._stdin)
            self._stdin = None

    def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            if self._client_writing:
                self._loop.remove_writer(client.fileno())
            if self._client_reading:
                self._loop.remove_reader(client.fileno())
            client.close()
        self._out.clear()
        self._close_stdin()
        self._update()

    def _finish(self) -> None:
        """All output is with the client. Its stream ends with the process: clients then ask for the exit code at once."""
        self.done.set()
        if not self._over:
            return
        if self._stdin is not None:
            if self._stdin_writing:
                self._loop.remove_writer(self._stdin)
            os.close(self._stdin)
            self._stdin = None
        client, self._client = self._client, None
        if client is not None:
            if self._client_reading:
                self._loop.remove_reader(client.fileno())
            _close_when_heard(self._loop, client)

    def end(self) -> None:
        """The process is gone and its code is known: outputs that somebody else still holds are let go."""
        self._over = True
        for stream, fd in list(self._outputs.items()):
            self._loop.remove_reader(fd)
            self._reading.discard(stream)
            del self._outputs[stream]
            if fd != self._stdin:
                os.close(fd)
        self._update()


def _close_when_heard(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    """The end for `client`, which may be sending still."""

    def close() -> None:
        late.cancel()
        loop.remove_reader(client.fileno())
        client.close()

    def drop() -> None:
        try:
            if client.recv(_READ):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        close()

    late = loop.call_later(_LINGER_S, close)
    loop.add_reader(client.fileno(), drop)
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)
