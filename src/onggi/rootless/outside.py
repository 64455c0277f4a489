"""The process that stays in the host's network.

    python -I -m onggi.rootless.outside DIRECTORY

Started by `enter`, for one user; it returns when all is there, and a child of it goes on: the parent of `inside`, which it
ends with. It does what can only be done out here: writes the id maps, runs the uplink, binds ports.

Rights: the user's. Descriptors expected: stdio.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import Final, Never

from onggi.errors import OnggiError
from onggi.kernel import process, userns
from onggi.kernel.clone import CloneFlag
from onggi.rootless import ids, messages, uplink
from onggi.rootless.messages import Answer, Bind, Key
from onggi.rootless.uplink import Uplink

PIDFILE: Final = "inside.pid"
_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def main() -> Never:
    """Exit status 0: `inside` runs and its pid is in the directory. Else the reason is on stderr."""
    directory = sys.argv[1]
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        said = os.read(ready, 4096)
        os.write(2, said.removeprefix(b"\n"))
        os._exit(0 if said.startswith(b"\n") else 1)
    os.close(ready)
    os.setsid()
    process.set_name("onggi-outside")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _run(directory, tell)
    except (OnggiError, OSError) as error:
        with contextlib.suppress(OSError):
            os.write(tell, str(error).encode()[:4000] or b"?")
        os._exit(1)
    os._exit(0)


def _run(directory: str, tell: int) -> None:
    maps = ids.maps_of(ids.this_person())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    me = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os.close(tell)
        _become_inside(theirs, directory, me)
    theirs.close()
    connected = Uplink("")
    try:
        if messages.receive(ours) is None:
            raise OnggiError("rootless: user namespaces are switched off (sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000)")  # fmt: skip
        userns.write_maps(pid, maps)
        connected, warning = uplink.start(pid, directory)
        ours.send(connected.name_server.encode() or b"-")
        if ours.recv(1) != b"1":
            raise OnggiError("rootless: the namespaces could not be set up")
        with open(os.path.join(directory, PIDFILE), "w", encoding="ascii") as file:
            file.write(f"{pid}\n")
        os.write(tell, f"\n{warning}".encode()[:4000])
        os.close(tell)
        let_go()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # slirp4netns; inside's end is the socket's
        _serve(ours)
    finally:
        connected.end()
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, PIDFILE))


def _become_inside(link: socket.socket, directory: str, parent: int) -> Never:
    from onggi.rootless import inside

    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        process.set_pdeathsig(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        process.unshare(CloneFlag.NEWUSER | CloneFlag.NEWNS | CloneFlag.NEWNET | CloneFlag.NEWIPC)
        messages.send(link, Answer())
        inside.run(link, directory, let_go)
        status = 0
    finally:
        os._exit(status)


def let_go() -> None:
    """Of the terminal, and of whatever else those wait for who started us."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    os.chdir("/")


def _serve(link: socket.socket) -> None:
    """Ports for `inside`, until that ends."""
    while True:
        try:
            received = messages.receive(link)
        except ConnectionResetError:
            return
        if received is None:
            return
        if isinstance(received[0], Bind):
            try:
                with bind(received[0].key) as sock:
                    messages.send(link, Answer(), [sock.fileno()])
            except OSError as error:
                messages.send(link, Answer(error.errno or 5))


def bind(key: Key) -> socket.socket:
    """Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in key.address else socket.AF_INET, _KINDS[key.protocol])
    try:
        if ":" in key.address:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if key.protocol == "tcp":
            # Connections of the last holder in TIME_WAIT don't keep the port; one that listens does.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((key.address, key.port))
        if key.protocol == "tcp":
            sock.listen(512)
    except BaseException:
        sock.close()
        raise
    return sock


if __name__ == "__main__":
    main()
