"""A connection to a log server, made anew when it breaks. Blocking: for a carrier, never for a shim."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl

CONNECT_S: Final = 10.0
_PAUSE_S: Final = 0.1
"""A server that has just refused is not asked again for each of a thousand lines."""

_KINDS: Final = {
    "tcp": socket.SOCK_STREAM,
    "tcp+tls": socket.SOCK_STREAM,
    "tls": socket.SOCK_STREAM,
    "udp": socket.SOCK_DGRAM,
    "unix": socket.SOCK_STREAM,
    "unixgram": socket.SOCK_DGRAM,
}


class Connection:
    """To `address`, a URL. `sock` is one that is connected already; TLS is spoken over it if the URL says so."""

    def __init__(self, address: str, options: dict[str, str], sock: socket.socket | None = None) -> None:
        from urllib.parse import urlsplit  # not before the fork: every shim would carry it

        self._url = urlsplit(address)
        self._options = options
        self._sock: socket.socket | None = None
        self._given = sock
        self._not_before = 0.0

    @property
    def is_datagram(self) -> bool:
        return _KINDS[self._url.scheme] == socket.SOCK_DGRAM

    def send(self, data: bytes, *, timeout_s: float | None = None) -> None:
        """One message. Raises OSError; the next call connects anew."""
        sock = self.connected()
        try:
            sock.settimeout(timeout_s)
            if self.is_datagram:
                sock.send(data)
            else:
                sock.sendall(data)
        except OSError:
            self.close()
            raise

    def receive(self, *, timeout_s: float | None = None) -> bytes:
        """What the server has to say. Raises OSError."""
        sock = self.connected()
        try:
            sock.settimeout(timeout_s)
            answer = sock.recv(4096)
        except OSError:
            self.close()
            raise
        if not answer:
            self.close()
            raise ConnectionResetError("the log server has gone")
        return answer

    def connected(self) -> socket.socket:
        """Raises OSError when the server can't be reached."""
        if self._sock is None:
            if time.monotonic() < self._not_before:
                raise ConnectionRefusedError("the log server was away a moment ago")
            try:
                raw, self._given = self._given or self._open(), None
                raw.settimeout(CONNECT_S)
                self._sock = self._secured(raw)
            except OSError:
                self._not_before = time.monotonic() + _PAUSE_S
                raise
        return self._sock

    def _open(self) -> socket.socket:
        kind = _KINDS[self._url.scheme]
        if self._url.scheme.startswith("unix"):
            sock = socket.socket(socket.AF_UNIX, kind)
            return _connect(sock, self._url.path)
        last: OSError = OSError("no address")
        found = socket.getaddrinfo(self._url.hostname, self._url.port, type=kind)
        for family, _, protocol, _, address in found:
            try:
                return _connect(socket.socket(family, kind, protocol), address)
            except OSError as error:
                last = error
        raise last

    def _secured(self, sock: socket.socket) -> socket.socket:
        if self._url.scheme not in {"tcp+tls", "tls"}:
            return sock
        try:
            return tls_context(self._options).wrap_socket(sock, server_hostname=self._url.hostname)
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None


def _connect(sock: socket.socket, address: object) -> socket.socket:
    try:
        sock.settimeout(CONNECT_S)
        sock.connect(address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


def tls_context(options: dict[str, str]) -> ssl.SSLContext:
    """With the files that `options` name (ca-cert, cert, key), or the machine's authorities. Raises OSError."""
    import ssl  # 3 MB that no other carrier needs

    context = ssl.create_default_context(cafile=options.get("ca-cert") or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.get("cert"):
        context.load_cert_chain(options["cert"], options.get("key") or None)
    if "skip-verify" in options:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
