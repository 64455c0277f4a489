"""Where an archive goes that is being written: collected into large writes, digested or compressed on the way if asked."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from isal import isal_zlib

_PIECE: Final = 256 * 1024
_GZIP_LEVEL: Final = 1
_GZIP_WINDOW: Final = 16 + 15
"""zlib's way of asking for a gzip header and trailer."""


class Sink:
    """Writes to `fd`, or nowhere (None) when only the digest counts. With `gzip` the descriptor gets a gzip stream.

    Blocks: for worker processes. The digest is that of what was written, not of the gzip stream.
    """

    def __init__(self, fd: int | None, *, digest: bool = False, gzip: bool = False) -> None:
        self._fd = fd
        self._hash = hashlib.sha256() if digest else None
        self._deflate = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW) if gzip else None
        self._buffer = bytearray()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _PIECE:
            self.flush()

    def copy(self, fd: int, size: int) -> None:
        """`size` bytes of the file `fd`; what it lacks is zeros."""
        if self._hash is None and self._deflate is None and self._fd is not None and size >= _PIECE:
            self.flush()
            offset = 0
            while offset < size and (sent := os.sendfile(self._fd, fd, offset, min(size - offset, 1 << 30))):
                offset += sent
            self.size += offset
            size -= offset
        else:
            while size and (piece := os.read(fd, min(size, _PIECE))):
                self.write(piece)
                size -= len(piece)
        while size:
            self.write(bytes(min(size, _PIECE)))
            size -= min(size, _PIECE)

    def flush(self) -> None:
        """What was collected goes out, as far as the compressor lets it."""
        if not self._buffer:
            return
        self.size += len(self._buffer)
        if self._hash is not None:
            self._hash.update(self._buffer)
        self._out(self._deflate.compress(self._buffer) if self._deflate else self._buffer)
        self._buffer = bytearray()

    def end(self) -> None:
        """All is out, and the gzip stream has its trailer."""
        self.flush()
        if self._deflate:
            self._out(self._deflate.flush())

    def hexdigest(self) -> str:
        """Of all that was flushed. Holds: made with digest=True."""
        if self._hash is None:
            raise ValueError("this sink has no digest")
        return self._hash.hexdigest()

    def _out(self, data: bytes | bytearray) -> None:
        if self._fd is None:
            return
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                done += os.write(self._fd, view[done:])
