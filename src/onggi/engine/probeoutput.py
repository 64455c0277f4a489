"""What a health check's probe prints: read while it runs, so that it never waits, kept up to a limit."""

from __future__ import annotations

import asyncio
import os

_READ = 64 * 1024


class ProbeOutput:
    """Owns `fd`, the reading end of the pipe that the probe writes to, until `finish`."""

    def __init__(self, fd: int, limit: int) -> None:
        self._fd, self._limit, self._found = fd, limit, bytearray()
        self._loop = asyncio.get_running_loop()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    def _read(self) -> bool:
        """Whether there may be more at once."""
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return False
        self._found += data[: max(0, self._limit - len(self._found))]
        if not data:
            self._loop.remove_reader(self._fd)
        return bool(data)

    def finish(self) -> str:
        """All that was written until now. A process that the probe has left behind, and that writes on, is not waited for."""
        while self._read():
            continue
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        return self._found.decode("utf-8", "replace")
