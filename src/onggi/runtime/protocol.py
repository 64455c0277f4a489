"""What engine, launcher and shim say to each other.

Messages are msgpack over SOCK_SEQPACKET: one message, one datagram, descriptors beside it (SCM_RIGHTS). What is longer
than `INLINE_BYTES` travels in a sealed memfd that is the first descriptor. The engine makes a socket pair for each
container and exec and hands one end to the launcher with the request; from then on it talks to the shim alone, and the
end of that socket is the end of the shim.

The protocol is additive: a field that is new has a default, a message that is unknown is answered `Refused`, nothing
changes its meaning. Shims outlive the engine that started them, so the two may differ in age by two releases.
"""

from __future__ import annotations

import _socket
import array
import fcntl
import os
import socket
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from onggi.oci.runtime import Process
from onggi.runtime.plan import InitPlan

VERSION: Final = 1

INLINE_BYTES: Final = 64 * 1024
"""A longer message goes in a memfd: the socket's buffer (208 KiB by default) must hold several."""

MESSAGE_LIMIT: Final = 16 * 1024 * 1024
DESCRIPTOR_LIMIT: Final = 64
"""The kernel takes 253 (SCM_MAX_FD); nothing of ours needs more than this."""

_IN_MEMFD: Final = b"\x00memfd"
"""Stands for the message when it is in a memfd. Byte 0 can't begin a msgpack map, so it can't be taken for one."""

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class CarrierPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A log that goes elsewhere. All is checked: who made this plan answers for it.

    `address` is a URL, `fields` what each message says of its container (names are the driver's), `options` the driver's
    own words. With `blocking` a container whose log isn't taken waits; otherwise what doesn't fit into `buffer_bytes` is
    lost and counted.
    """

    driver: Literal["syslog", "fluentd", "gelf", "journald"]
    address: str
    tag: str = ""
    fields: dict[str, str] = {}
    options: dict[str, str] = {}
    blocking: bool = True
    buffer_bytes: int = 1_000_000


class LogPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a container's output is kept. `max_size` -1 is without limit; `max_file` counts the live one too.

    `driver` json-file keeps JSON lines at `path` (`compress`: older files with gzip), `none` keeps no file. `carrier` is
    where the output goes besides.
    """

    driver: Literal["json-file", "none"] = "json-file"
    path: str = ""
    max_size: int = -1
    max_file: int = 1
    attrs: dict[str, str] = {}
    compress: bool = False
    carrier: CarrierPlan | None = None


class AttachPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which streams a client's socket carries.

    Output is in docker's frames (8 bytes of header) unless the container has a tty. A reader whose buffer is full slows
    the container down for `patience_s` at most without reading anything; then it is cut.
    """

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    patience_s: float = 10.0


class StartContainer(msgspec.Struct, frozen=True, omit_defaults=True, tag="start"):
    """Engine to launcher. Descriptors: control socket, then `attach` sockets in order, the log's connection if there is
    one already (`log_connected`), then held ones.

    `directory` (0700, of this boot) is where the shim keeps its socket, its state and the exit record; the client fills
    it in. `cgroup_path` is below the root of each hierarchy, as in linux.cgroupsPath.
    """

    container_id: str
    plan: InitPlan
    cgroup_path: str
    log: LogPlan = LogPlan()
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    directory: str = ""
    attach: list[AttachPlan] = []
    log_connected: bool = False
    version: int = VERSION


class ExecProcess(msgspec.Struct, frozen=True, omit_defaults=True, tag="exec"):
    """Engine to launcher. Descriptors: control socket, then stdin, stdout, stderr unless `tty`.

    `pid` and `pid_start` (field 22 of /proc/PID/stat, 0 = don't check) name the container's init. `user`, `groups` and
    `seccomp` are as in InitPlan.
    """

    container_id: str
    pid: int
    process: Process
    cgroup_path: str = ""
    tty: bool = False
    user: str = ""
    groups: list[str] = []
    seccomp: bytes = b""
    preserve_fds: int = 0
    pid_start: int = 0
    version: int = VERSION


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Engine to shim, first message of a restarted engine. Answered with `Started`, and `Exited` when that is known."""

    version: int = VERSION


class Attach(msgspec.Struct, frozen=True, tag="attach"):
    """Engine to shim, with one stream socket."""

    request: int
    plan: AttachPlan


class Resize(msgspec.Struct, frozen=True, tag="resize"):
    """Engine to shim: the terminal's new size."""

    request: int
    rows: int
    cols: int


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Engine to shim, with sockets: it holds them too from now on, and closes those bound to `release` (heldports.Name)."""

    request: int
    release: list[tuple[str, str, int]] = []


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Engine to shim: the exit is committed. The shim removes its directory and its cgroup and ends."""


class Started(msgspec.Struct, frozen=True, omit_defaults=True, tag="started"):
    """Shim to engine. Descriptors: pidfd of init unless it is gone, then `dns` sockets, then the console of an exec."""

    pid: int
    pid_start: int
    started_at_ns: int
    shim_pid: int
    pidfd: bool = True
    dns: int = 0
    console: bool = False
    version: int = VERSION


class Failed(msgspec.Struct, frozen=True, omit_defaults=True, tag="failed"):
    """Shim (or launcher) to engine: nothing was started, nothing is left."""

    step: str
    errno: int
    message: str
    exit_code: int = 128


class OomKilled(msgspec.Struct, frozen=True, tag="oom"):
    """Shim to engine: the kernel has killed a process of the container for memory; `kills` so far."""

    kills: int


class Done(msgspec.Struct, frozen=True, omit_defaults=True, tag="done"):
    """Shim to engine: `request` is carried out.

    To `Attach`: what the client gets begins where the log ended then, at `log_offset` of the file `log_inode`.
    """

    request: int
    log_inode: int = 0
    log_offset: int = 0


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Shim to engine: `request` is not carried out, and why. 0 answers what wasn't understood."""

    request: int
    errno: int
    message: str


class ExitRecord(msgspec.Struct, frozen=True, omit_defaults=True, tag="exited"):
    """How a container or an exec ended, once and for all. `signal` is 0 unless one killed it.

    `oom_kills` and `memory_peak` (bytes) are known of containers that were killed for want of memory.
    """

    exit_code: int
    finished_at_ns: int
    signal: int = 0
    oom_killed: bool = False
    reason: str = ""
    oom_kills: int = 0
    memory_peak: int = 0


class ShimState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who the container and its shim are, as the shim keeps it and tells each engine that connects."""

    container_id: str
    pid: int
    pid_start: int
    started_at_ns: int
    shim_pid: int
    cgroup_path: str
    version: int = VERSION


# Plain numbers: each operation on an enum's member runs twenty functions of its own, and writes to their pages in a shim.
_NO_SIGNAL: Final = int(socket.MSG_NOSIGNAL)
_CLOSE_ON_EXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_CUT: Final = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_SPACE: Final = socket.CMSG_SPACE(DESCRIPTOR_LIMIT * 4)

LauncherRequest = StartContainer | ExecProcess
ShimRequest = Hello | Attach | Resize | Hold | Forget
ShimReport = Started | Failed | OomKilled | Done | Refused | ExitRecord

encode = msgspec.msgpack.Encoder().encode
decode_launcher_request = msgspec.msgpack.Decoder(LauncherRequest).decode
decode_shim_request = msgspec.msgpack.Decoder(ShimRequest).decode
decode_shim_report = msgspec.msgpack.Decoder(ShimReport).decode


DecodeError = msgspec.DecodeError


class ProtocolError(Exception):
    """The other side sent what it must not."""


def send(sock: _socket.socket, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
    """Send one message with descriptors.

    Raises BlockingIOError on a full socket that doesn't block, BrokenPipeError when nobody is there.
    """
    if len(fds) > DESCRIPTOR_LIMIT - 1:
        raise ProtocolError(f"{len(fds)} descriptors in one message")
    payload = encode(message)
    if len(payload) <= INLINE_BYTES:
        _sendmsg(sock, payload, fds)
        return
    if len(payload) > MESSAGE_LIMIT:
        raise ProtocolError(f"a message of {len(payload)} bytes")
    memfd = os.memfd_create("onggi-message", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(payload)
        while view:
            view = view[os.write(memfd, view) :]
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
        _sendmsg(sock, _IN_MEMFD, [memfd, *fds])
    finally:
        os.close(memfd)


def _sendmsg(sock: _socket.socket, payload: bytes, fds: Sequence[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([payload], rights, _NO_SIGNAL)


def receive(sock: _socket.socket) -> tuple[bytes, list[int]] | None:
    """The next message, undecoded, and its descriptors (close-on-exec; the caller owns them). None at the end.

    Decoding is apart because the launcher's child does it: a message that breaks the decoder breaks no launcher.
    Raises ProtocolError with nothing left open.
    """
    # Descriptors of socket.recv_fds would be inheritable: the flag is ours to give.
    payload, ancillary, flags, _ = sock.recvmsg(INLINE_BYTES + 1, _SPACE, _CLOSE_ON_EXEC)
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += array.array("i", data[: len(data) - len(data) % 4])
    try:
        if flags & _CUT:
            raise ProtocolError("a message or its descriptors were cut")
        if not payload:
            if fds:
                raise ProtocolError("descriptors without a message")
            return None
        if payload != _IN_MEMFD:
            return payload, fds
        if not fds:
            raise ProtocolError("a long message without its memfd")
        payload = _read_memfd(fds[0])
        os.close(fds.pop(0))
    except BaseException:
        close_all(fds)
        raise
    return payload, fds


def _read_memfd(fd: int) -> bytes:
    # Sealed: what is decoded can't change under the decoder.
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise ProtocolError("the memfd of a long message is not sealed")
    size = os.fstat(fd).st_size
    if size > MESSAGE_LIMIT:
        raise ProtocolError(f"a message of {size} bytes")
    payload = os.pread(fd, size, 0)
    if len(payload) != size:
        raise ProtocolError("a short memfd")
    return payload


def close_all(fds: Sequence[int]) -> None:
    """Close each of `fds`."""
    for fd in fds:
        os.close(fd)
