"""Where the API is served: unix sockets, TCP with TLS, sockets from systemd.

A unix socket is made with its mode and group from the start (D-01): between bind and a later chmod anybody could connect.
TCP without TLS is refused but on loopback, when asked for by name (D-02): the API is root on this machine.
"""

from __future__ import annotations

import contextlib
import grp
import ipaddress
import logging
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from typing import Final

from onggi.errors import InvalidArgument, OnggiError

DEFAULT_HOST: Final = "unix:///run/onggi.sock"
TLS_PORT: Final = 2376
PLAIN_PORT: Final = 2375
BACKLOG: Final = 512
_FIRST_PASSED_FD: Final = 3  # sd_listen_fds(3)
_GROUPS: Final = ("onggi", "docker")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens. `trusted`: only users of this machine that may open it reach it."""

    sock: socket.socket
    host: str
    trusted: bool
    tls: ssl.SSLContext | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    ca: str
    certificate: str
    key: str


def open_listeners(
    hosts: list[str], *, group: str, tls: TlsFiles | None, insecure_loopback: bool, passed: list[socket.socket]
) -> list[Listener]:
    """All of them, or none: what was opened is closed when one fails. Raises InvalidArgument, OnggiError."""
    opened: list[Listener] = []
    try:
        for host in hosts or [DEFAULT_HOST]:
            kind, separator, rest = host.partition("://")
            if not separator:
                raise InvalidArgument(f"host {host!r} has no protocol: want unix://PATH, tcp://HOST:PORT or fd://")
            if kind == "unix":
                opened.append(_unix(rest, group))
            elif kind == "tcp":
                opened.extend(_tcp(rest, tls, insecure_loopback=insecure_loopback))
            elif kind == "fd":
                opened.extend(_passed(passed))
            else:
                raise InvalidArgument(f"protocol {kind!r} of host {host!r} is not served")
    except BaseException:
        close_listeners(opened)
        raise
    return opened


def close_listeners(listeners: list[Listener]) -> None:
    """Closes and removes. A socket of systemd's stays where it is."""
    for listener in listeners:
        if listener.path:
            with contextlib.suppress(OSError):  # somebody has removed it already
                os.unlink(listener.path)
        listener.sock.close()


def _unix(path: str, group: str) -> Listener:
    if not path.startswith("/"):
        raise InvalidArgument(f"unix socket path {path!r} must be absolute")
    _remove_stale(path)
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    gid, name = _group(group)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    umask = os.umask(0o117)
    egid = os.getegid()
    try:
        # The file gets the process's group: set it for the moment of bind, so that no other state is ever visible.
        os.setegid(gid)
        try:
            sock.bind(path)
        finally:
            os.setegid(egid)
            os.umask(umask)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OnggiError(f"can't listen on {path}: {error.strerror}") from None
    log.info("listening", extra={"host": f"unix://{path}", "group": name})
    return Listener(sock, f"unix://{path}", trusted=True, path=path)


def _remove_stale(path: str) -> None:
    """A socket file that nobody serves any more. Raises OnggiError when somebody does."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OnggiError(f"can't listen on {path}: it is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise OnggiError(f"can't listen on {path}: {error.strerror}") from None
    raise OnggiError(f"can't listen on {path}: another engine is listening there")


def _group(asked: str) -> tuple[int, str]:
    """The group that may use the socket. Raises InvalidArgument when the one asked for isn't there."""
    if asked.isdecimal():
        return int(asked), asked
    for name in (asked,) if asked else _GROUPS:
        try:
            return grp.getgrnam(name).gr_gid, name
        except KeyError:
            continue
    if asked:
        raise InvalidArgument(f"group {asked!r} of the socket does not exist")
    log.info("no group onggi or docker: only root may use the socket")
    return 0, "root"


def _tcp(address: str, tls: TlsFiles | None, *, insecure_loopback: bool) -> list[Listener]:
    name, port = _split_port(address.rstrip("/"), TLS_PORT if tls else PLAIN_PORT)
    try:
        found = socket.getaddrinfo(name or "127.0.0.1", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise InvalidArgument(f"can't resolve tcp host {name!r}: {error.strerror}") from None
    if tls is None:
        for *_, target in found:
            if not ipaddress.ip_address(target[0]).is_loopback or not insecure_loopback:
                raise InvalidArgument(
                    f"tcp://{address} without TLS is refused: it gives root to whoever reaches it. Use --tlsverify with "
                    "--tlscacert, --tlscert and --tlskey (or a loopback address with --insecure-loopback)"
                )
    context = server_context(tls) if tls else None
    listeners: list[Listener] = []
    try:
        for family, kind, protocol, _, target in found:
            sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
            listeners.append(Listener(sock, f"tcp://{address}", trusted=False, tls=context))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(target)
            sock.listen(BACKLOG)
    except OSError as error:
        close_listeners(listeners)
        raise OnggiError(f"can't listen on tcp://{address}: {error.strerror}") from None
    log.info("listening", extra={"host": f"tcp://{address}", "tls": tls is not None})
    return listeners


def _split_port(address: str, default: int) -> tuple[str, int]:
    if address.startswith("["):
        name, _, rest = address[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = address.partition(":")
    if port and not (port.isdecimal() and int(port) < 1 << 16):
        raise InvalidArgument(f"invalid port in tcp://{address}")
    return name, int(port) if port else default


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or newer; a client must show a certificate of the given authority, made for clients (D-03).

    Raises InvalidArgument for missing files or a key that others can read.
    """
    for path in (files.ca, files.certificate, files.key):
        if not os.path.isfile(path):
            raise InvalidArgument(f"TLS file {path!r} does not exist (--tlscacert, --tlscert, --tlskey)")
    if os.stat(files.key).st_mode & 0o077:
        raise InvalidArgument(f"TLS key {files.key} can be read by others: chmod 0600 it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.ca)
    except (ssl.SSLError, OSError) as error:
        raise InvalidArgument(f"can't read the TLS files: {error}") from None
    # OpenSSL checks extendedKeyUsage for clients itself when a server verifies (X509_PURPOSE_SSL_CLIENT).
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["http/1.1"])
    return context


def passed_sockets() -> list[socket.socket]:
    """What systemd opened for us (sd_listen_fds(3)); the variables are taken out of the environment."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for fd in range(_FIRST_PASSED_FD, _FIRST_PASSED_FD + int(count)):
        os.set_inheritable(fd, False)
        sockets.append(socket.socket(fileno=fd))
    return sockets


def _passed(sockets: list[socket.socket]) -> list[Listener]:
    if not sockets:
        raise InvalidArgument("fd:// was asked for, but no socket was passed (is the unit socket-activated?)")
    for sock in sockets:
        if sock.family != socket.AF_UNIX:
            raise InvalidArgument("fd:// takes unix sockets only: TCP needs TLS, which is asked for with tcp://")
    return [Listener(sock, f"fd://{sock.fileno()}", trusted=True) for sock in sockets]
