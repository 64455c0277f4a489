"""The engine's way to its containers: starts the launcher, asks it for shims, finds shims of an earlier engine again.

asyncio side. Begin with `Runtime.open`; what it returns for a container is in handles.py.

Invariants: (1) the launcher is exec'ed from a sealed copy of the interpreter, never forked from this process with its
threads (R-05, S-01); (2) a request that the launcher has not taken is known to be not taken: its control socket ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from onggi.errors import InvalidArgument, OnggiError, Unavailable
from onggi.kernel import cgroups, process
from onggi.runtime import exitfile, protocol
from onggi.runtime.handles import EXEC_FAILED, START_FAILED, ExecProcessHandle, Link, Shim
from onggi.runtime.protocol import AttachPlan, ExecProcess, ExitRecord, StartContainer, Started

log = logging.getLogger(__name__)

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
        if old.name != boot and (old / "shims").is_dir():
            shutil.rmtree(old, ignore_errors=True)
    shims = exec_root / boot / "shims"
    # S-73: the sockets' directory is ours alone.
    shims.parent.mkdir(mode=0o700, exist_ok=True)
    shims.mkdir(mode=0o700, exist_ok=True)
    return shims


class Runtime:
    """All containers of one engine. Made by `open`."""

    def __init__(self, exec_root: Path, shims: Path) -> None:
        self._exec_root = exec_root
        self._shims = shims
        self._interpreter = process.sealed_copy(sys.executable)
        self._launcher: _Launcher | None = None
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
    ) -> Shim:
        """Start a container; returns when its process has been exec'ed.

        `attach` sockets get the first byte; `hold` stay open as long as the shim lives (published ports). All
        descriptors stay the caller's. Raises RuntimeStepError with the step that failed, Unavailable when launcher or
        shim were killed: in both cases nothing is left. Cancelled: what has begun is ended and removed.
        """
        directory = str(self._shims / request.container_id)
        request = msgspec.structs.replace(request, directory=directory, attach=[a.plan for a in attach])
        link = await self._ask(request, [*(a.fd for a in attach), *hold])
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
            # sun_path takes 107 bytes, the directory's name alone has more: reached through its descriptor.
            address = f"/proc/self/fd/{directory}/{exitfile.SOCKET}"
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                sock.connect(address)
            except OSError:
                sock.close()
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

    @property
    def launcher_pid(self) -> int:
        """0: there is none."""
        return 0 if self._launcher is None or self._launcher.dead else self._launcher.pid

    async def forget(self, container_id: str) -> None:
        """Remove what a shim that is gone has left: directory and cgroup. Its exit is committed."""
        directory = self._shims / container_id
        with contextlib.suppress(FileNotFoundError):
            path = os.readlink(directory / exitfile.CGROUP)
            await asyncio.to_thread(_remove_cgroup, path)
        exitfile.remove_directory(str(directory))

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

    async def _running_launcher(self) -> _Launcher:
        async with self._starting:
            if self._closing:
                raise Unavailable("the engine is closing")
            if self._launcher is None or self._launcher.dead:
                if self._launcher is not None:
                    log.warning("the launcher (pid %d) has ended: starting another", self._launcher.pid)
                    await self._launcher.close()
                self._launcher = _Launcher(self._interpreter.fileno(), self._exec_root)
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


class _Launcher:
    """The launcher's process, from our side."""

    def __init__(self, interpreter: int, exec_root: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # argv[0] is the real path, so that the interpreter finds its prefix and virtual environment (S-01);
            # -I: nothing of the environment or the working directory is believed (S-23).
            command = ["-I", "-m", "onggi.runtime.launcher", str(theirs.fileno()), f"--exec-root={exec_root}"]
            self._process = subprocess.Popen(
                [sys.executable, *command],
                # By our pid: the child has closed its own descriptors when it gets there.
                executable=f"/proc/{os.getpid()}/fd/{interpreter}",
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "ONGGI_FAULT", "ONGGI_FAULT_SEED"}},
            )
        ours.setblocking(False)
        self._sock = ours
        self._sending = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self.pid = self._process.pid
        self.dead = False
        self._pidfd = os.pidfd_open(self.pid)
        self._ended = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._on_end)

    async def send(self, request: StartContainer | ExecProcess, fds: Sequence[int]) -> None:
        """Hand over a request. Raises BrokenPipeError or ConnectionResetError when nobody can take it any more."""
        async with self._sending:
            while True:
                if self.dead:
                    raise BrokenPipeError
                try:
                    protocol.send(self._sock, request, fds)
                    return
                except BlockingIOError:
                    await self._writable()

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._sock, _settle, ready)
        try:
            await asyncio.wait([ready, self._ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_writer(self._sock)

    def _on_end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self.dead = True
        # Requests that wait in the socket are dropped with it: their control sockets end (invariant 2).
        self._sock.close()
        self._ended.set_result(None)

    async def close(self) -> None:
        """Let it go; returns when it has ended."""
        if not self.dead:
            self._sock.shutdown(socket.SHUT_RDWR)
        await asyncio.shield(self._ended)


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


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _kill_cgroup(path: str) -> None:
    cgroups.open(path).kill_all()


def _remove_cgroup(path: str) -> None:
    group = cgroups.open(path)
    group.kill_all()
    group.remove()
