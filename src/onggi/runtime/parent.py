"""The parent's side of a start or an exec: makes the child, does its own part, listens until the child is its program."""

from __future__ import annotations

import _signal as signal  # lean.py
import contextlib
import errno
import gc
import os
import select
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Never

from onggi.errors import OnggiError, RuntimeStepError
from onggi.kernel import process, userns
from onggi.kernel.clone import CloneFlag, clone3
from onggi.kernel.fds import Fd
from onggi.kernel.namespaces import is_rootless
from onggi.kernel.userns import IdMaps
from onggi.runtime.steps import FAILED, ChildLink, ParentLink, StepFailed

if TYPE_CHECKING:
    import socket

_KILLED_WITHIN_MS = 10_000
_ENDS_WITHIN_MS = 100
_ERRNO = struct.Struct("=i")
Through = Sequence[tuple[Fd, CloneFlag]]


class Spawned:
    """A process that runs: the caller owns the descriptors. `console` is the terminal's master.

    `root` is the overlay that a supervised container runs on, for its shim to hold until the end is told: the last one
    who lets go of an overlay waits until the whole file system under it is synced to the disk (ovl_sync_fs in
    fs/overlayfs/super.c), and that had better not be the container's process on its way out.
    """

    __slots__ = ("console", "dns_fds", "pid", "pidfd", "root")

    def __init__(self, pid: int, pidfd: Fd) -> None:
        self.pid, self.pidfd = pid, pidfd
        self.console: Fd | None = None
        self.root: Fd | None = None
        self.dns_fds: list[Fd] = []


class Parent:
    """The parent's side of one start: makes the child, does its own part, listens until the child is its program."""

    def __init__(
        self,
        expected: list[str],
        *,
        supervised: bool,
        listener: Callable[[Fd, int], None] | None = None,
        until: Callable[[Mapping[int, int]], set[int]] | None = None,
    ) -> None:
        """`listener` passes the child's seccomp listener on, and is told its pid; `until` waits for the child's words."""
        self._until = until
        self._expected, self._supervised, self._listener = expected, supervised, listener

    def run(
        self,
        child: Callable[[ChildLink], None],
        prepare: Callable[[int], None],
        flags: CloneFlag,
        cgroup: int | None,
        pid_namespace: Fd | None,
        *,
        through: Through = (),
        maps: IdMaps | None = None,
    ) -> Spawned:
        """Raises RuntimeStepError; the child is gone then. `through` is joined before the clone, `maps` are the child's."""
        link = ParentLink()
        try:
            if through:
                spawned = self._clone_through(link, child, flags, cgroup, through)
            else:
                spawned = self.clone(link, child, flags, cgroup, pid_namespace)
        except (OSError, StepFailed) as error:
            link.close()
            raise as_step_error(error) from error
        link.forked()

        def prepare_all(pid: int) -> None:
            if maps is not None:
                userns.write_maps(pid, maps)
                link.mapped()
            prepare(pid)

        return self.finish(link, spawned, prepare_all)

    def finish(self, link: ParentLink, spawned: Spawned, prepare: Callable[[int], None]) -> Spawned:
        """The parent's part beside a child that is on its way. Raises RuntimeStepError; the child is gone then."""
        try:
            try:
                prepare(spawned.pid)
            except (OSError, OnggiError) as error:
                # If the child has failed already, its words are the cause and this is what follows from it; or its death.
                # What it had handed out before comes first.
                said = b"-"
                while said:
                    said, fds = link.receive(wait=False)
                    for fd in fds:
                        fd.close()
                if isinstance(error, OSError) and error.errno == errno.ESRCH and _is_ending(spawned):
                    raise _killed() from error
                raise as_step_error(error) from error
            link.go(spawned.pid)
            self._listen(link, spawned)
        except BaseException:
            self._undo(spawned)
            raise
        finally:
            link.close()
        return spawned

    def clone(
        self,
        link: ParentLink,
        child: Callable[[ChildLink], None],
        flags: CloneFlag,
        cgroup: int | None,
        pid_namespace: Fd | None,
    ) -> Spawned:
        """The child alone, which then waits for its parent. Raises OSError."""
        if pid_namespace is not None:
            # Holds for children only, so it must be done here; untraceable before it can be seen there (CVE-2016-9962).
            process.set_dumpable(False)
            process.setns(pid_namespace, CloneFlag.NEWPID)
        collecting = gc.isenabled()
        gc.disable()
        try:
            if self._supervised:
                # The kernel takes no exit signal with CLONE_PARENT: it is that of the caller.
                cloned = clone3(flags | CloneFlag.PARENT, cgroup=cgroup, exit_signal=0)
            else:
                cloned = clone3(flags, cgroup=cgroup)
            if cloned is None:
                _child(link.child_side(), child)
        finally:
            if collecting:
                gc.enable()
            if pid_namespace is not None:
                _come_back()
                process.set_dumpable(True)
        return Spawned(*cloned)

    def _clone_through(
        self,
        link: ParentLink,
        child: Callable[[ChildLink], None],
        flags: CloneFlag,
        cgroup: int | None,
        through: Through,
    ) -> Spawned:
        """The child, born into namespaces that this process can't come back from: one in between enters them.

        Raises OSError, StepFailed.
        """
        if self._supervised:
            # It would be a second child of the shim's.
            raise StepFailed(errno.ENOTSUP, "user namespaces are not joined beside others in a supervised container")
        import socket

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            between = os.fork()
            if between == 0:
                _be_between(theirs, link, child, flags, cgroup, through)
            os.waitpid(between, 0)
            payload, fds, _, _ = socket.recv_fds(ours, 4096, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        if not fds:
            raise StepFailed(_ERRNO.unpack_from(payload)[0], payload[_ERRNO.size :].decode())
        pidfd = Fd(fds[0])
        return Spawned(pid_of(pidfd), pidfd)

    def _listen(self, link: ParentLink, spawned: Spawned) -> None:
        """Until the child is its program (end of the stream) or waits before that (ready)."""
        became = False
        while True:
            if self._until is not None:
                self._until({link.socket.fileno(): select.POLLIN})
            kind, fds = link.receive()
            if kind == b"F":
                self._take(self._expected.pop(0), fds, spawned)
            elif kind == b"N" and self._listener is not None:
                with process.pidfd_getfd(spawned.pidfd, int(link.said)) as listener:
                    try:
                        self._listener(listener, spawned.pid)
                    except OSError as error:
                        raise as_step_error(error) from error
                link.taken()
            elif kind == b"B":
                became = True
            elif kind or became:
                return
            else:
                raise _killed()

    @staticmethod
    def _take(what: str, fds: list[Fd], spawned: Spawned) -> None:
        match what:
            case "root":
                spawned.root = fds[0]
            case "console":
                spawned.console = fds[0]
            case _:
                spawned.dns_fds = fds

    def _undo(self, spawned: Spawned) -> None:
        """The child and its namespaces are gone when this returns."""
        kill(spawned)
        if not self._supervised:
            os.waitpid(spawned.pid, 0)


def _come_back() -> None:
    """Later children are born into our own pid namespace again.

    The host's isn't open to an ordinary user who has left it: whoever starts a process for one starts no other.
    """
    with Fd(os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)) as own:
        try:
            process.setns(own, CloneFlag.NEWPID)
        except PermissionError:
            if not is_rootless():
                raise


def _killed() -> RuntimeStepError:
    return RuntimeStepError("init", errno.ESRCH, "init: the process was killed before its program began", FAILED)


def _is_ending(spawned: Spawned) -> bool:
    """A process lets go of its namespaces before its end is told (do_exit in kernel/exit.c)."""
    poll = select.poll()
    poll.register(spawned.pidfd.fileno(), select.POLLIN)
    return bool(poll.poll(_ENDS_WITHIN_MS))


def kill(spawned: Spawned) -> None:
    """The process has ended when this returns; who its parent is reaps it."""
    with contextlib.suppress(ProcessLookupError):
        process.pidfd_send_signal(spawned.pidfd, signal.SIGKILL)
    poll = select.poll()
    poll.register(spawned.pidfd.fileno(), select.POLLIN)
    poll.poll(_KILLED_WITHIN_MS)
    for fd in (spawned.pidfd, spawned.console, spawned.root, *spawned.dns_fds):
        if fd:
            fd.close()


def _be_between(
    answer: socket.socket,
    link: ParentLink,
    child: Callable[[ChildLink], None],
    flags: CloneFlag,
    cgroup: int | None,
    through: Through,
) -> Never:
    """Enter, clone a sibling, say its pidfd or what failed, end."""
    try:
        process.set_dumpable(False)
        for fd, flag in through:
            process.setns(fd, flag)
        gc.disable()
        cloned = clone3(flags | CloneFlag.PARENT, cgroup=cgroup)
        if cloned is None:
            answer.close()
            _child(link.child_side(), child)
        import socket  # there since before the fork

        socket.send_fds(answer, [b"P"], [cloned[1].fileno()])
    except OSError as error:
        answer.send(_ERRNO.pack(error.errno or errno.EIO) + (error.strerror or "").encode()[:2000])
    finally:
        os._exit(0)


def pid_of(pidfd: Fd) -> int:
    """Its number here, which who sent it can't know (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{pidfd.fileno()}", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))


def _child(link: ChildLink, become: Callable[[ChildLink], None]) -> Never:
    """Everything of the child: nothing of it may run on in the parent's frames, whatever happens (S-20, S-22)."""
    try:
        become(link)
    except BaseException as error:  # noqa: BLE001 - the parent must know, and this process must end
        link.fail(error)
    finally:
        os._exit(1)


def as_step_error(error: Exception) -> RuntimeStepError:
    if isinstance(error, StepFailed):
        return RuntimeStepError(error.text.partition(":")[0], error.errno, error.text, error.exit_code)
    if isinstance(error, OSError):
        text = error.strerror or str(error)
        return RuntimeStepError(text.partition(":")[0], error.errno or errno.EIO, text, FAILED)
    return RuntimeStepError("plan", errno.EINVAL, str(error), FAILED)
