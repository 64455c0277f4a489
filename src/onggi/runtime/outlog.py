"""A container's log as its shim sees it: a file, a carrier, both or none."""

from __future__ import annotations

import time

from onggi.runtime.carrying import Carried
from onggi.runtime.logfile import LogFile
from onggi.runtime.protocol import LogPlan


class OutputLog:
    """`connection` is the log server's, -1 for none. Nothing here raises or blocks; what is lost is counted."""

    def __init__(self, plan: LogPlan, connection: int = -1) -> None:
        self._plan = plan
        self._file: LogFile | None = None
        self._trouble = ""
        self.carried = Carried(plan.carrier, connection) if plan.carrier is not None else None

    @property
    def full(self) -> bool:
        """The container must wait before more is read of it."""
        return self.carried is not None and self.carried.full

    @property
    def unsent(self) -> bool:
        """There is output that its carrier hasn't taken yet."""
        return self.carried is not None and self.carried.waiting

    @property
    def trouble(self) -> str:
        """What went wrong, "" if nothing."""
        lost = self._file.lost_bytes if self._file is not None else 0
        if lost:
            return f"{lost} bytes of the log could not be written"
        if self.carried is not None and self.carried.lost_bytes:
            return f"{self.carried.lost_bytes} bytes of the log could not be sent"
        return self._trouble

    def write(self, stream: int, chunk: bytes) -> None:
        file = self._opened()
        if file is not None:
            file.write(stream, chunk)
        if self.carried is not None:
            self.carried.write(stream, chunk)

    def end(self, stream: int) -> None:
        """`stream` has ended."""
        if self._file is not None:
            self._file.end(stream)
        if self.carried is not None and self.carried.fileno() >= 0:
            self.carried.write(stream, b"")

    def position(self) -> tuple[int, int]:
        """Inode and size of the file: what is logged from now on comes after it. (0, 0) without one."""
        file = self._opened()
        return (0, 0) if file is None else file.position()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self.carried is not None:
            self.carried.end(time.monotonic())

    def _opened(self) -> LogFile | None:
        """Opened when it is needed: of fifty containers most are silent most of the time."""
        if self._file is None and self._plan.driver == "json-file" and not self._trouble:
            try:
                self._file = LogFile(self._plan)
            except OSError as error:
                # It could be opened at the start. The container goes on without.
                self._trouble = f"the log could not be opened: {error.strerror}"
        return self._file
