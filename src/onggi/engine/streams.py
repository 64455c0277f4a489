"""A client's two-way stream to a container's stdio: attach, before the start or while it runs.

The shim writes docker's frames into one end of a socket pair; the other end is the client's. No byte is handled here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onggi.engine.container import Container, State
from onggi.engine.logconfig import log_path
from onggi.engine.logfiles import LogWatch, read_log
from onggi.engine.logs import LogOptions
from onggi.engine.stats import Sample, document, take
from onggi.errors import Conflict, NotImplementedHere
from onggi.runtime.client import AttachSocket
from onggi.runtime.protocol import AttachPlan

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


@dataclass(frozen=True, slots=True)
class AttachOptions:
    """What a client attaches to. `logs`: what was said before comes first; without `stream` that is all."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    stream: bool = True
    logs: bool = False


@dataclass(slots=True)
class Attachment:
    """`sock` carries output to the client and input from it, until both have ended; it is the receiver's to close."""

    sock: socket.socket
    tty: bool
    stdin: bool = False
    detach_keys: str = ""


class Streams:
    """Attaches clients."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watch = LogWatch()

    def close(self) -> None:
        self._watch.close()

    def logs(
        self, container: Container, options: LogOptions, *, end: tuple[int, int] | None = None
    ) -> AsyncIterator[bytes]:
        """Docker's frames, or plain bytes with a tty, as they are read; with `follow` until the container ends.

        `end`: inode and offset of the log where reading ends. Raises NotImplementedHere for a driver that keeps nothing.
        """
        path = log_path(container, self._engine.snapshots.directory(container.id))
        if not path:
            raise NotImplementedHere("configured logging driver does not support reading")
        stopped: asyncio.Future[Any] | None = None
        if options.follow and not container.exited.is_set():
            stopped = asyncio.ensure_future(container.exited.wait())
        return _closing(
            read_log(path, options, tty=container.row.config.tty, watch=self._watch, stopped=stopped, end=end), stopped
        )

    async def attach(self, container: Container, options: AttachOptions) -> Attachment:
        """Raises Conflict for a paused or restarting container. A stopped one: the stream begins with its start."""
        if container.state == State.PAUSED:
            raise Conflict(f"container {container.id} is paused, unpause the container before attach")
        if container.state == State.RESTARTING:
            raise Conflict(f"container {container.id} is restarting, wait until the container is running")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        theirs.setblocking(False)
        tty = container.row.config.tty
        stdin = options.stdin and container.row.config.open_stdin
        self._engine.events.emit("container", "attach", container.id, container.attributes)
        if options.logs or not options.stream:
            # What was said before goes through a relay, which joins the live stream where the log ended.
            relay = self._relay(container, options, theirs, stdin=stdin)
            self._engine.tasks.watch(relay, f"replay for a client of {container.name}")
        else:
            await self._join(container, theirs, options, stdin=stdin)
        return Attachment(ours, tty, stdin)

    async def _join(self, container: Container, theirs: socket.socket, options: AttachOptions, *, stdin: bool) -> None:
        if container.shim is not None and container.is_alive:
            with theirs:
                await container.shim.attach(theirs.fileno(), stdin=stdin, stdout=options.stdout, stderr=options.stderr)
        else:
            plan = AttachPlan(stdin=stdin, stdout=options.stdout, stderr=options.stderr)
            container.attaching.append(AttachSocket(theirs.detach(), plan))

    async def _relay(self, container: Container, options: AttachOptions, theirs: socket.socket, *, stdin: bool) -> None:
        """The log so far into the client's socket, then the shim gets that socket: nothing is lost or told twice.

        The shim is asked first where its log ends; what it says from then on waits in its own buffer.
        """
        loop = asyncio.get_running_loop()
        with theirs:
            live: socket.socket | None = None
            end: tuple[int, int] | None = None
            if options.stream and container.shim is not None and container.is_alive:
                live, feed = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                live.setblocking(False)
                with feed:
                    end = await container.shim.attach(
                        feed.fileno(), stdin=stdin, stdout=options.stdout, stderr=options.stderr
                    )
            if options.logs and log_path(container, self._engine.snapshots.directory(container.id)):
                wanted = LogOptions(stdout=options.stdout, stderr=options.stderr)
                async for piece in self.logs(container, wanted, end=end):
                    await loop.sock_sendall(theirs, piece)
            if live is not None:
                await _both_ways(theirs, live)

    def detached(self, container: Container) -> None:
        """A client has typed its detach keys."""
        self._engine.events.emit("container", "detach", container.id, container.attributes)

    async def stats(self, container: Container, *, stream: bool, one_shot: bool) -> AsyncIterator[dict[str, Any]]:
        """Docker's objects, one a second; the first has no `precpu` with `stream`. Ends with the container's removal."""
        previous: Sample | None = None
        while not container.removed.is_set():
            current = await asyncio.to_thread(
                take, self._engine.cgroup_path(container), container.row.pid if container.is_alive else 0
            )
            if stream or one_shot or previous is not None or not container.is_alive:
                yield document(container, current, previous)
                if not stream:
                    return
            previous = current
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await container.removed.wait()


async def _both_ways(first: socket.socket, second: socket.socket) -> None:
    """Bytes between two sockets, ends included, until both have ended."""
    loop = asyncio.get_running_loop()

    async def one_way(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(source, 65536):
                await loop.sock_sendall(target, data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    with second:
        async with asyncio.TaskGroup() as group:
            group.create_task(one_way(second, first), name="output")
            group.create_task(one_way(first, second), name="input")


async def _closing(pieces: AsyncIterator[bytes], stopped: asyncio.Future[Any] | None) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield piece
    finally:
        if stopped is not None:
            stopped.cancel()
