"""The launcher's process, as the engine holds it: exec'ed from a sealed interpreter, asked over one socket.

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


class Launcher:
    """A launcher that runs, or has ended (`dead`)."""

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


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
