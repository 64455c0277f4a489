"""The launcher's process, as the engine holds it: exec'ed from a sealed interpreter, asked over two sockets.

asyncio side.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from onggi.runtime import protocol
from onggi.runtime.protocol import ExecProcess, StartContainer


class _Door:
    """The engine's end of one socket, where requests of one kind are put through one after the other."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock, self.sending = sock, asyncio.Lock()


class Launcher:
    """A launcher that runs, or has ended (`dead`)."""

    def __init__(self, interpreter: int, exec_root: Path) -> None:
        starts, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        execs, theirs_too = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, theirs_too:
            # argv[0] is the real path, so that the interpreter finds its prefix and virtual environment (S-01);
            # -I: nothing of the environment or the working directory is believed (S-23).
            sockets = [theirs.fileno(), theirs_too.fileno()]
            command = ["-I", "-m", "onggi.runtime.launcher", *map(str, sockets), f"--exec-root={exec_root}"]
            self._process = subprocess.Popen(
                [sys.executable, *command],
                # By our pid: the child has closed its own descriptors when it gets there.
                executable=f"/proc/{os.getpid()}/fd/{interpreter}",
                pass_fds=sockets,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "ONGGI_FAULT", "ONGGI_FAULT_SEED"}},
            )
        self._starts, self._execs = _Door(starts), _Door(execs)
        self._loop = asyncio.get_running_loop()
        self.pid = self._process.pid
        self.dead = False
        self._pidfd = os.pidfd_open(self.pid)
        self._ended = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._on_end)

    async def send(self, request: StartContainer | ExecProcess, fds: Sequence[int]) -> None:
        """Hand over a request. Raises BrokenPipeError or ConnectionResetError when nobody can take it any more."""
        door = self._starts if isinstance(request, StartContainer) else self._execs
        async with door.sending:
            while True:
                if self.dead:
                    raise BrokenPipeError
                try:
                    protocol.send(door.sock, request, fds)
                    return
                except BlockingIOError:
                    await self._writable(door.sock)

    async def _writable(self, sock: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(sock, _settle, ready)
        try:
            await asyncio.wait([ready, self._ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_writer(sock)

    def _on_end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self.dead = True
        # Requests that wait in the socket are dropped with it: their control sockets end (invariant 2).
        self._starts.sock.close()
        self._execs.sock.close()
        self._ended.set_result(None)

    async def close(self) -> None:
        """Let it go; returns when it has ended."""
        if not self.dead:
            self._starts.sock.shutdown(socket.SHUT_RDWR)
            self._execs.sock.shutdown(socket.SHUT_RDWR)
        await asyncio.shield(self._ended)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
