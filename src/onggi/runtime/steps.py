"""How a child between clone3 and exec speaks with its parent: where it is, what failed, descriptors to hand out.

The child must not format a traceback: that opens source files by path, and the paths are the container's by then
(S-20). It sends fixed structures over a socket pair that closes itself at exec: the end of the stream is success.

A message is one byte of kind, then: E errno (4 bytes), exit code (2 bytes), text; F (descriptors); A made ahead and
ready for a plan; N (number of the seccomp listener); R ready, waiting for the fifo; B about to become the program: the end of the stream is success after it,
and a death before it.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import struct
from collections.abc import Sequence
from typing import Never

from onggi.errors import OnggiError, RuntimeStepError
from onggi.kernel.fds import Fd

_ERROR = struct.Struct("=cih")
NOT_FOUND, CANNOT_RUN, FAILED = 127, 126, 128
FILE_FOR_DIRECTORY = (
    "Are you trying to mount a directory onto a file (or vice-versa)? "
    "Check if the specified host path exists and is the expected type"
)
"""What dockerd adds to every ENOTDIR of its runtime."""


class StepFailed(Exception):
    """Raised in the child where the exit code or the words are docker's own."""

    def __init__(self, number: int, text: str, exit_code: int = FAILED) -> None:
        super().__init__(text)
        self.errno, self.text, self.exit_code = number, text, exit_code


class ChildLink:
    """The child's end. SEQPACKET: a message is whole or not there."""

    def __init__(self, sock: _socket.socket) -> None:
        self.socket = sock

    def fileno(self) -> int:
        return self.socket.fileno()

    def wait(self) -> int:
        """Until the parent says go; the child's number in the parent's pid namespace. Without a parent the child ends."""
        message = self.socket.recv(16)
        if message[:1] != b"G":
            os._exit(1)
        return int(message[1:])

    def wait_mapped(self) -> None:
        """Until the parent has written the id maps of our user namespace. Without a parent the child ends."""
        if self.socket.recv(16) != b"M":
            os._exit(1)

    # By write(2), which even a filter that sends calls on to an agent must allow (filters.py).

    def ready(self) -> None:
        os.write(self.fileno(), b"R")

    def hand_over(self, listener: int) -> None:
        """The number of our seccomp listener; returns when the parent has passed it on. Without a parent the child ends."""
        os.write(self.fileno(), b"N%d" % listener)
        if os.read(self.fileno(), 16) != b"K":
            os._exit(1)

    def waiting(self) -> None:
        """Made ahead, and ready for a plan: what the parent does may build on what was done here."""
        self.socket.send(b"A")

    def becoming(self) -> None:
        """Said while every call is still allowed: a tight filter may refuse the next send."""
        os.write(self.fileno(), b"B")

    def hand_out(self, fds: Sequence[int]) -> None:
        self.socket.sendmsg([b"F"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))])

    def fail(self, error: BaseException) -> Never:
        """Says what failed and ends the process. Uses nothing but what is loaded and in memory."""
        number, code, text = errno.EIO, FAILED, type(error).__name__
        if isinstance(error, StepFailed):
            number, code, text = error.errno, error.exit_code, error.text
        elif isinstance(error, OSError):
            number, text = error.errno or errno.EIO, error.strerror or ""
        elif isinstance(error, (OnggiError, ValueError, KeyError, TypeError)):
            number, text = errno.EINVAL, str(error.args[0]) if error.args else text
        try:
            os.write(self.fileno(), _ERROR.pack(b"E", number, code) + text.encode("utf-8", "replace")[:2000])
        finally:
            os._exit(1)


class ParentLink:
    """The parent's end."""

    def __init__(self, received: _socket.socket | None = None) -> None:
        """`received` is the parent's end of a link that another process has made."""
        self.child: _socket.socket | None = None
        if received is not None:
            self.socket = received
        else:
            self.socket, self.child = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.said = b""

    def child_side(self) -> ChildLink:
        """For the child, right after clone3."""
        child, self.child = self.child, None
        self.socket.close()
        if child is None:
            raise AssertionError("the child's end is taken")
        return ChildLink(child)

    def forked(self) -> None:
        """For the parent, right after clone3: with its copy of the child's end open it would never see the end."""
        if self.child:
            self.child.close()
            self.child = None

    def mapped(self) -> None:
        """The child's ids mean something now."""
        with contextlib.suppress(OSError):  # the child has failed: its words come with the next receive
            self.socket.send(b"M")

    def taken(self) -> None:
        """The child's listener is where it belongs."""
        self.socket.send(b"K")

    def go(self, pid: int) -> None:
        try:
            self.socket.send(b"G%d" % pid)
        except OSError:  # the child has failed: its words come with the next receive
            return

    def receive(self, *, wait: bool = True) -> tuple[bytes, list[Fd]]:
        """(kind, descriptors); kind is empty at the end of the stream, and when there is nothing and `wait` is False.

        Raises RuntimeStepError when the child failed, OSError when descriptors were cut off.
        """
        flags = _socket.MSG_CMSG_CLOEXEC | (0 if wait else _socket.MSG_DONTWAIT)
        try:
            payload, ancillary, said, _ = self.socket.recvmsg(4096, _socket.CMSG_SPACE(64), flags)
        except BlockingIOError:
            return b"", []
        except ConnectionResetError:
            # Said once, and first, when the child has ended without reading our go: its words come after it.
            return self.receive(wait=wait)
        fds: list[Fd] = []
        for level, kind, data in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fds += [Fd(fd) for (fd,) in struct.iter_unpack("i", data[: len(data) - len(data) % 4])]
        if said & _socket.MSG_CTRUNC:
            raise OSError(errno.EMFILE, "descriptors of the child: no room for them")
        if payload[:1] == b"E":
            _, number, code = _ERROR.unpack_from(payload)
            text = payload[_ERROR.size :].decode("utf-8", "replace")
            raise RuntimeStepError(text.partition(":")[0], number, text, code)
        self.said = payload[1:]
        return payload[:1], fds

    def close(self) -> None:
        self.forked()
        self.socket.close()
