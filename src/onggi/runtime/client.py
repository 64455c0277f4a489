"""The engine's way to its containers: starts the launcher, asks it for shims, finds shims of an earlier engine again.

asyncio side. Begin with `Runtime.open`; what it returns for a container is in handles.py.

Invariants: (1) the launcher is exec'ed from a sealed copy of the interpreter, never forked from this process with its
threads (R-05, S-01); (2) a request that the launcher has not taken is known to be not taken: its control socket ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from onggi.errors import InvalidArgument, OnggiError, Unavailable
from onggi.kernel import cgroups, sealing
from onggi.kernel.fds import Fd
from onggi.runtime import exitfile, protocol
from onggi.runtime.handles import EXEC_FAILED, START_FAILED, ExecProcessHandle, Link, Shim
from onggi.runtime.launching import Launcher
from onggi.runtime.protocol import AttachPlan, ExecProcess, ExitRecord, StartContainer, Started

log = logging.getLogger(__name__)

_BOOT_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ADOPT_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 5.0
_BACKOFF_S: Final = (0.0, 0.05, 0.2, 1.0)
"""Pauses before each try to hand a request to a launcher, a new one if the last has died."""


@dataclass(frozen=True, slots=True)
class AttachSocket:
    """A stream socket that must get the container's first byte: its shim's end, which stays the caller's to close."""

    fd: int
    plan: AttachPlan = field(default_factory=AttachPlan)


def boot_id() -> str:
    """What tells this boot from all others (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _prepare(exec_root: Path) -> Path:
    """The directory of shims of this boot, made; those of earlier boots are removed, nothing in them is true any more (R-10)."""
    exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
    boot = boot_id()
    for old in exec_root.iterdir():
        # By its form: whatever else somebody keeps in this directory is not ours to remove.
        if old.name != boot and _BOOT_ID.fullmatch(old.name) and (old / "shims").is_dir():
            shutil.rmtree(old, ignore_errors=True)
    shims = exec_root / boot / "shims"
    # S-73: the sockets' directory is ours alone.
    shims.parent.mkdir(mode=0o700, exist_ok=True)
    shims.mkdir(mode=0o700, exist_ok=True)
    return shims


class CgroupInUse(OnggiError):
    """Nothing runs any more, and the kernel doesn't let go of the group."""


class Runtime:
    """All containers of one engine. Made by `open`."""

    def __init__(self, exec_root: Path, shims: Path) -> None:
        self._exec_root = exec_root
        self._shims = shims
        self._interpreter = Fd(sealing.sealed_copy(sys.executable))
        self._launcher: Launcher | None = None
        self._starting = asyncio.Lock()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, exec_root: Path) -> Runtime:
        """Prepare `exec_root` for this boot and start the launcher."""
        shims = _prepare(exec_root)
        runtime = cls(exec_root, shims)
        await runtime._running_launcher()
        return runtime

    async def start(
        self,
        request: StartContainer,
        *,
        attach: Sequence[AttachSocket] = (),
        hold: Sequence[int] = (),
        log: int | None = None,
    ) -> Shim:
        """Start a container; returns when its process has been exec'ed.

        `attach` sockets get the first byte; `hold` stay open as long as the shim lives (published ports); `log` is
        connected to the log's server. All descriptors stay the caller's. Raises RuntimeStepError with the step that failed, Unavailable when launcher or
        shim were killed: in both cases nothing is left. Cancelled: what has begun is ended and removed.
        """
        directory = str(self._shims / request.container_id)
        request = msgspec.structs.replace(
            request, directory=directory, attach=[a.plan for a in attach], log_connected=log is not None
        )
        link = await self._ask(request, [*(a.fd for a in attach), *(() if log is None else (log,)), *hold])
        try:
            started, fds = await asyncio.shield(link.started)
        except asyncio.CancelledError:
            self._background(self._end_start(request.container_id, link), f"end of {request.container_id}, given up")
            raise
        except Unavailable:
            # A starter that was killed: what it had made by then is found by its names.
            link.close()
            await self._bury_unknown(request.container_id)
            await self.forget(request.container_id)
            raise
        except BaseException:
            link.close()
            raise
        return self._shim(request.container_id, link, started, fds)

    async def exec(self, request: ExecProcess, stdio: tuple[int, int, int] | None) -> ExecProcessHandle:
        """Start a process in a running container. `stdio` None with `request.tty`: the handle's `console` is its terminal.

        The descriptors stay the caller's. Raises as `start` does. Cancelled: the process is killed.
        """
        if (stdio is None) != request.tty:
            raise InvalidArgument("an exec has either a terminal or three descriptors")
        link = await self._ask(request, stdio or (), EXEC_FAILED)
        try:
            started, fds = await asyncio.shield(link.started)
        except asyncio.CancelledError:
            self._background(_end_exec(link), f"end of an exec in {request.container_id}, given up")
            raise
        except BaseException:
            link.close()
            raise
        return ExecProcessHandle(link, started, fds)

    async def adopt(self, container_id: str) -> Shim | ExitRecord | None:
        """Find a container that an earlier engine started. None: there is nothing of it.

        A shim that lives gives a Shim (whose `wait` may answer at once). One that is gone gives the exit record it left,
        or, killed before that, everything of the container is killed and the record says so; `forget` it then.
        """
        try:
            directory = os.open(self._shims / container_id, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if exitfile.is_left_over(directory):
                return None
            sock = _connect(directory)
            if sock is None:
                return exitfile.read_exit(directory) or await self._bury_unknown(container_id)
        finally:
            os.close(directory)
        link = Link(sock)
        try:
            link.send(protocol.Hello())
            async with asyncio.timeout(_ADOPT_TIMEOUT_S):
                started, fds = await asyncio.shield(link.started)
        except Unavailable:
            link.close()
            return self._left_record(container_id) or await self._bury_unknown(container_id)
        except BaseException:
            link.close()
            raise
        return self._shim(container_id, link, started, fds)

    def known(self) -> list[str]:
        """Ids of all containers that have a shim's directory."""
        return sorted(os.listdir(self._shims))

    def has_left(self, container_id: str) -> bool:
        """Whether a cgroup of a container that is forgotten could not be removed: `forget` tries again."""
        return os.path.lexists(self._shims / container_id / exitfile.LEFT)

    @property
    def launcher_pid(self) -> int:
        """0: there is none."""
        return 0 if self._launcher is None or self._launcher.dead else self._launcher.pid

    async def forget(self, container_id: str) -> None:
        """Remove what a shim that is gone has left: directory and cgroup. Its exit is committed.

        One that lives after all is told to go first: nobody could reach it afterwards. Raises CgroupInUse: all but the
        cgroup is gone, and calling it again tries again.
        """
        try:
            directory = os.open(self._shims / container_id, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            path = exitfile.read_cgroup_path(directory)
            is_removed = path is None or await asyncio.to_thread(_remove_cgroup, path)
            sock = _connect(directory)
        finally:
            os.close(directory)
        if sock is not None:
            await self._dismiss(sock)
        if not is_removed:
            exitfile.leave(str(self._shims / container_id))
            raise CgroupInUse(f"the cgroup of container {container_id[:12]} can't be removed: {path}")
        exitfile.remove_directory(str(self._shims / container_id))

    async def _dismiss(self, sock: socket.socket) -> None:
        """Say forget to a shim whose container has been killed, and wait until it has heard."""
        link = Link(sock)
        try:
            link.send(protocol.Hello())
            async with asyncio.timeout(_ADOPT_TIMEOUT_S):
                await asyncio.shield(link.exited)
                link.send(protocol.Forget())
                await asyncio.shield(link.closed)
        except (Unavailable, TimeoutError):
            pass
        finally:
            link.close()

    async def close(self) -> None:
        """End the launcher; shims and their containers go on."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_TIMEOUT_S)
        if self._launcher is not None:
            await self._launcher.close()
        self._interpreter.close()

    # -- what was begun and isn't wanted any more

    def _background(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_start(self, container_id: str, link: Link) -> None:
        try:
            started, fds = await link.started
        except OnggiError:
            link.close()
            await self._bury_unknown(container_id)
            await self.forget(container_id)
            return
        shim = self._shim(container_id, link, started, fds)
        shim.process.signal(signal.SIGKILL)
        await shim.wait()
        await shim.forget()

    # -- the launcher

    async def _ask(self, request: StartContainer | ExecProcess, fds: Sequence[int], failed: str = START_FAILED) -> Link:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            for pause_s in _BACKOFF_S:
                await asyncio.sleep(pause_s)
                launcher = await self._running_launcher()
                try:
                    await launcher.send(request, [theirs.fileno(), *fds])
                    break
                except (BrokenPipeError, ConnectionResetError):
                    # Not taken by anybody (invariant 2): a new launcher may have it.
                    launcher.dead = True
            else:
                raise Unavailable("the launcher ends as soon as it is started: see its words on the engine's stderr")
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Link(ours, failed)

    async def _running_launcher(self) -> Launcher:
        async with self._starting:
            if self._closing:
                raise Unavailable("the engine is closing")
            if self._launcher is None or self._launcher.dead:
                if self._launcher is not None:
                    log.warning("the launcher (pid %d) has ended: starting another", self._launcher.pid)
                    await self._launcher.close()
                self._launcher = Launcher(self._interpreter.fileno(), self._exec_root)
            return self._launcher

    # -- containers whose shim is gone

    def _shim(self, container_id: str, link: Link, started: Started, fds: list[int]) -> Shim:
        loop = asyncio.get_running_loop()

        def bury(shim: Shim) -> asyncio.Future[ExitRecord]:
            return loop.create_task(self._bury(shim), name=f"end of {container_id}, whose shim was killed")

        def clear(gone: str) -> asyncio.Future[None]:
            return loop.create_task(self.forget(gone), name=f"clearing after {gone}")

        return Shim(container_id, link, started, fds, bury=bury, clear=clear)

    async def _bury(self, shim: Shim) -> ExitRecord:
        record = self._left_record(shim.container_id)
        if record is not None:
            return record
        shim.process.signal(signal.SIGKILL)
        record = await self._bury_unknown(shim.container_id)
        await shim.process.ended()
        return record

    async def _bury_unknown(self, container_id: str) -> ExitRecord:
        """Kill all of a container that nobody supervises, by its cgroup, and leave the record of it."""
        record = ExitRecord(
            exit_code=128 + signal.SIGKILL,
            signal=signal.SIGKILL,
            finished_at_ns=time.time_ns(),
            reason="the shim of the container was killed; the container was ended with it",
        )
        try:
            directory = os.open(self._shims / container_id, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return record
        try:
            path = exitfile.read_cgroup_path(directory)
            if path is not None:
                await asyncio.to_thread(_kill_cgroup, path)
            exitfile.write_exit(directory, record)
            return exitfile.read_exit(directory) or record
        finally:
            os.close(directory)

    def _left_record(self, container_id: str) -> ExitRecord | None:
        try:
            directory = os.open(self._shims / container_id, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return exitfile.read_exit(directory)
        finally:
            os.close(directory)


def _connect(directory: int) -> socket.socket | None:
    """A socket to the shim of this directory; None: it is gone."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # sun_path takes 107 bytes, the directory's name alone has more: reached through its descriptor.
        sock.connect(f"/proc/self/fd/{directory}/{exitfile.SOCKET}")
    except OSError:
        sock.close()
        return None
    return sock


async def _end_exec(link: Link) -> None:
    try:
        started, fds = await link.started
    except OnggiError:
        link.close()
        return
    handle = ExecProcessHandle(link, started, fds)
    handle.kill(signal.SIGKILL)
    await handle.wait()
    handle.close()


def _kill_cgroup(path: str) -> None:
    cgroups.open(path).kill_all()


def _remove_cgroup(path: str) -> bool:
    """False: the kernel refuses (a process in it can't be killed now, somebody has made a group below it)."""
    group = cgroups.open(path)
    group.kill_all()
    try:
        group.remove()
    except OSError as error:
        log.warning("%s", error.strerror)
        return False
    return True
