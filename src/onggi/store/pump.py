"""Packed bytes from a descriptor, unpacked, digested and counted on the way to whoever parses them.

Three threads side by side: this one's caller writes files; one reads and decodes; one digests. Decoders and hashlib let go of
the interpreter lock, so two cores are busy. Belongs to a worker process: threads here end with it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from queue import Queue
from typing import Final

from onggi.errors import Corrupt
from onggi.oci.digest import Digest
from onggi.store.compression import PIECE_BYTES, Compression, open_reader
from onggi.store.unpack import Limits

_PIECES: Final = 6
"""Decoded pieces under way to each reader."""

_REPORT_S: Final = 0.1


class Pump:
    """`more` is what TarReader wants. After the last piece `digest` is that of all unpacked bytes."""

    def __init__(self, fd: int, limits: Limits, report: Callable[[int], None] | None = None) -> None:
        self.compression = Compression.NONE
        self.packed = 0
        self.unpacked = 0
        self._fd = fd
        self._limits = limits
        self._report = report
        self._reported = 0.0
        self._hash = hashlib.sha256()
        self._error: Exception | None = None
        self._pieces: Queue[bytes] = Queue(_PIECES)
        self._digested: Queue[bytes] = Queue(_PIECES)
        self._hasher = threading.Thread(target=self._digest, name="digest", daemon=True)
        self._hasher.start()
        threading.Thread(target=self._decode, name="decode", daemon=True).start()

    def more(self) -> bytes:
        """The next unpacked bytes, b"" at the end. Raises Corrupt, or OSError of the source."""
        piece = self._pieces.get()
        if not piece:
            self._pieces.put(b"")
            if self._error:
                raise self._error
        return piece

    def finish(self) -> Digest:
        """The digest of all there was. Holds: `more` has answered b""."""
        self._hasher.join()
        if self._report:
            self._report(self.packed)
        return Digest("sha256:" + self._hash.hexdigest())

    def read(self, size: int, /) -> bytes:
        """The source, counted: for the decoder."""
        data = os.read(self._fd, size)
        self.packed += len(data)
        now = time.monotonic()
        if self._report and now - self._reported >= _REPORT_S:
            self._reported = now
            self._report(self.packed)
        return data

    def _decode(self) -> None:
        limits = self._limits
        try:
            self.compression, reader = open_reader(self)
            while piece := reader.read(PIECE_BYTES):
                self.unpacked += len(piece)
                if self.unpacked > limits.total_bytes:
                    raise Corrupt(f"the archive unpacks to more than {limits.total_bytes} bytes")
                if self.unpacked > max(limits.ratio_from_bytes, self.packed * limits.ratio):
                    raise Corrupt(
                        f"the archive unpacks to more than {limits.ratio} times its {self.packed} bytes: this is no real image"
                    )
                self._digested.put(piece)
                self._pieces.put(piece)
        except Exception as error:  # noqa: BLE001 - raised by `more`, in the caller's thread
            self._error = error
        self._digested.put(b"")
        self._pieces.put(b"")

    def _digest(self) -> None:
        while piece := self._digested.get():
            self._hash.update(piece)
