"""A registry in a thread of one's own program, for tests: `with onggi.registry.serve(tmp_path) as registry: …`."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from onggi.errors import OnggiError
from onggi.registry.access import Access
from onggi.registry.server import Registry


@dataclass(frozen=True, slots=True)
class Served:
    """`host` is what stands before an image's name: 127.0.0.1:PORT."""

    host: str

    @property
    def url(self) -> str:
        return f"http://{self.host}"


@contextmanager
def serve(root: str | os.PathLike[str], *, access: Access | None = None) -> Iterator[Served]:
    """On a free port of loopback, in the directory `root` (pytest's tmp_path, say), which stays. Raises OSError, InvalidArgument."""
    thread = _Thread(os.fspath(root), access)
    thread.start()
    try:
        yield Served(f"127.0.0.1:{thread.port()}")
    finally:
        thread.stop()


class _Thread(threading.Thread):
    """Owns the loop that serves."""

    def __init__(self, root: str, access: Access | None) -> None:
        super().__init__(name="onggi-registry")
        self._root, self._access = root, access
        self._loop = asyncio.new_event_loop()
        self._leave = asyncio.Event()
        self._ready = threading.Event()
        self._port = 0
        self._error: OnggiError | OSError | None = None

    def port(self) -> int:
        """Waits until there is one. Raises what has kept it from being there."""
        self._ready.wait()
        if self._error:
            raise self._error
        return self._port

    def stop(self) -> None:
        self._ready.wait()
        if not self._error:
            self._loop.call_soon_threadsafe(self._leave.set)
        self.join()
        self._loop.close()

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except (OnggiError, OSError) as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        registry = Registry(self._root, self._access)
        self._port = await registry.listen("127.0.0.1", 0)
        self._ready.set()
        try:
            await self._leave.wait()
        finally:
            await registry.close()
