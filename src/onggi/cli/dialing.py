"""system dial-stdio: bytes between stdio and the engine, ends included; what ssh:// of docker's clients runs on the far side."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

from onggi.cli.command import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options


def _dial_stdio(context: Context, options: Options, words: list[str]) -> None:
    del options, words
    sock = context.endpoint.connect()

    def upwards() -> None:
        how = socket.SHUT_WR
        try:
            while data := os.read(0, 65536):
                sock.sendall(data)
        except OSError:
            # The client closed with some of its answer unread (ECONNRESET, when stdin is a socket) or the engine doesn't
            # listen any more. Whoever still waits for the other side waits for nothing.
            how = socket.SHUT_RDWR
        with contextlib.suppress(OSError):
            sock.shutdown(how)

    threading.Thread(target=upwards, daemon=True, name="stdin to the engine").start()
    while data := sock.recv(65536):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


COMMANDS = {
    "dial_stdio": Command(
        _dial_stdio, "", "Proxy the stdio stream to the daemon connection. Should not be invoked manually.", most=0, hidden=True,
    )
}  # fmt: skip
