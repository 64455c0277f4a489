"""Reading and writing the small files of a cgroup directory."""

from __future__ import annotations

import errno
import os
import time

from onggi.kernel.faults import point


def write(path: str, value: str | int) -> None:
    """One write(2): the kernel takes a value whole. Raises OSError with the file and the value in its text."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(value).encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise OSError(error.errno, f"write {value} to {path}: {os.strerror(error.errno or errno.EIO)}") from None


def read(path: str) -> str:
    """The file's text, empty when the group (or the file, in this kernel) isn't there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        pieces = []
        while piece := os.read(fd, 65536):
            pieces.append(piece)
        return b"".join(pieces).decode()
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EOPNOTSUPP):  # removed meanwhile; not in this kernel
            return ""
        raise
    finally:
        os.close(fd)


def number(path: str) -> int:
    """The file's number; 0 when it isn't there, the largest one for `max`."""
    text = read(path).strip()
    return 2**64 - 1 if text == "max" else int(text or 0)


def pairs(path: str) -> dict[str, int]:
    """`name value` lines."""
    found = {}
    for line in read(path).splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[name] = int(value)
    return found


def remove_tree(path: str, deadline_s: float = 2.0) -> None:
    """Removes the directory and those below it. EBUSY while the last process is being reaped: tried until the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            point("cgroup.remove")
            _remove_once(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise OSError(error.errno, f"remove cgroup {path}: {os.strerror(error.errno or errno.EIO)}") from None
            # No event tells of the last reference to a dying task; the kernel lets go within a few milliseconds.
            time.sleep(0.001)
        else:
            return


def _remove_once(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        for name in os.listdir(path):
            below = os.path.join(path, name)
            if os.path.isdir(below):
                _remove_once(below)
        os.rmdir(path)


def tree_pids(path: str) -> list[int]:
    """Processes in the directory and below."""
    found = [int(line) for line in read(f"{path}/cgroup.procs").split()]
    try:
        entries = [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return found
    for entry in entries:
        found += tree_pids(entry)
    return found
