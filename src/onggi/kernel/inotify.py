"""inotify: what happens to files, as a descriptor that an event loop can wait for. Source: inotify(7)."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from enum import IntFlag

from onggi.kernel.syscalls import libc

_EVENT = struct.Struct("iIII")
_BUFFER = 64 * 1024


class Watch(IntFlag):
    """What to be told of, and what happened."""

    MODIFY = 0x00000002
    ATTRIB = 0x00000004
    CLOSE_WRITE = 0x00000008
    MOVED_FROM = 0x00000040
    MOVED_TO = 0x00000080
    CREATE = 0x00000100
    DELETE = 0x00000200
    DELETE_SELF = 0x00000400
    MOVE_SELF = 0x00000800
    OVERFLOW = 0x00004000
    IGNORED = 0x00008000
    ONLYDIR = 0x01000000


@dataclass(frozen=True, slots=True)
class Event:
    """`wd` is what `add` returned, -1 with OVERFLOW (events were lost: look at everything). `name` is in the directory."""

    wd: int
    mask: Watch
    name: bytes


class Inotify:
    """One instance: a user may have 128 (fs.inotify.max_user_instances), so share it. Never blocks."""

    def __init__(self) -> None:
        self._fd = _checked("inotify_init1", libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))

    def fileno(self) -> int:
        return self._fd

    def add(self, path: str, mask: Watch) -> int:
        """Watch `path`; the same inode gives the same number, with the new mask."""
        return _checked("inotify_add_watch", libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask)))

    def remove(self, wd: int) -> None:
        """Raises OSError EINVAL when what was watched is gone."""
        _checked("inotify_rm_watch", libc.inotify_rm_watch(self._fd, wd))

    def read(self) -> list[Event]:
        """What has happened since the last call."""
        try:
            content = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return []
        events = []
        position = 0
        while position < len(content):
            wd, mask, _, length = _EVENT.unpack_from(content, position)
            position += _EVENT.size
            events.append(Event(wd, Watch(mask), content[position : position + length].rstrip(b"\0")))
            position += length
        return events

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _checked(step: str, result: int) -> int:
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{step}: {os.strerror(error)}")
    return result
