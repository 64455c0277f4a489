"""Who answers for a container's system calls: the seccomp listener is sent to the agent that the spec names.

Source: config-linux.md, "The Container Process State": one connection, one JSON text, the descriptor beside it.
"""

from __future__ import annotations

import errno
import os

import msgspec

from onggi.kernel.fds import Fd
from onggi.oci.runtime import State


class ListenerPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """`path` of a stream socket in the runtime's mount namespace; `metadata` is for who listens there."""

    path: str
    metadata: str = ""


class ContainerProcessState(msgspec.Struct, rename="camel"):
    """What the agent is told. `fds` names the descriptors that come along."""

    oci_version: str
    fds: list[str]
    pid: int
    metadata: str
    state: State


def tell(plan: ListenerPlan, listener: Fd, pid: int, state: State) -> None:
    """Raises OSError when nobody takes it: a process whose calls nobody answers would stand still."""
    import array
    import socket

    told = ContainerProcessState(state.oci_version, ["seccompFd"], pid, plan.metadata, state)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(plan.path)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))]
            content = msgspec.json.encode(told)
            sent = sock.sendmsg([content], rights)
            sock.sendall(content[sent:])
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO).lower()
        raise OSError(error.errno, f"seccomp listener {plan.path}: {reason}") from None
