"""Device nodes that are mounts: for a container whose user namespace may make none itself.

The kernel lets nobody but the host's root make a node that opens a device (mknod(2), EPERM in a user namespace), and
opens none on a file system that was mounted there. So the nodes are made here, on a tmpfs of the host's, and given away as
detached mounts of one file each.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from typing import NamedTuple, Never

from onggi.kernel import mounts, process
from onggi.kernel.clone import CloneFlag
from onggi.kernel.fds import Fd
from onggi.kernel.mounts import MountAttr, MountFlag


class Node(NamedTuple):
    """`mode` with its type bits; owner as the host counts."""

    mode: int
    device: int
    uid: int
    gid: int


_AT_ONCE = 200
"""Descriptors in one message: the kernel takes 253 (SCM_MAX_FD)."""


def detached(nodes: Sequence[Node]) -> list[Fd]:
    """A detached mount for each. Raises OSError.

    A child makes them, in a mount namespace of its own: only what is mounted in one's own namespace can be copied, before
    Linux 6.15 at least (open_tree(2)).

    Holds:
        one thread; CAP_MKNOD and CAP_SYS_ADMIN on the host.
    """
    if len(nodes) > _AT_ONCE:
        raise OSError(7, f"device nodes: {len(nodes)} are more than {_AT_ONCE}")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        _make(nodes, theirs)
    theirs.close()
    with ours:
        message, ancillary, _, _ = ours.recvmsg(64, socket.CMSG_SPACE(4 * len(nodes)), socket.MSG_CMSG_CLOEXEC)
    os.waitpid(pid, 0)
    numbers = array.array("i", ancillary[0][2]) if ancillary else array.array("i")
    found = [Fd(number) for number in numbers]
    if message != b"ok" or len(found) != len(nodes):
        number = int(message or b"5")
        raise OSError(number, f"device nodes: {os.strerror(number)}")
    return found


def _make(nodes: Sequence[Node], parent: socket.socket) -> Never:
    try:
        os.umask(0)
        process.unshare(CloneFlag.NEWNS)
        mounts.mount(None, "/", None, MountFlag.REC | MountFlag.PRIVATE)
        directory = mounts.new_mount("tmpfs", {"mode": "700"}, MountAttr.NOSUID | MountAttr.NOEXEC)
        with Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as slash:
            mounts.move_mount(directory, slash)
        made = []
        for number, node in enumerate(nodes):
            name = str(number)
            os.mknod(name, node.mode, node.device, dir_fd=directory.fileno())
            os.chown(name, node.uid, node.gid, dir_fd=directory.fileno())
            made.append(mounts.open_tree(directory, name, clone=True))
        rights = array.array("i", [fd.fileno() for fd in made])
        parent.sendmsg([b"ok"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    except OSError as error:
        parent.send(b"%d" % (error.errno or 5))
    finally:
        os._exit(0)
