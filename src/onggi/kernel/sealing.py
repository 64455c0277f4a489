"""A program's file in memory that nobody can ever write to. Imports next to nothing: it runs before everything else.

A process in a container may reach the file of a program of ours through /proc/PID/exe, and could overwrite the host's
interpreter (CVE-2019-5736). What runs from here has no file on the host.
"""

from __future__ import annotations

import fcntl
import os

_MFD_EXEC = 0x10
_F_SEAL_EXEC = 0x20


def sealed_copy(path: str) -> int:
    """Descriptor of a copy of the executable at `path`, closed at exec.

    Raises OSError when vm.memfd_noexec forbids it. Source: memfd_create(2), MFD_EXEC Linux 6.3.
    """
    name = os.path.basename(path)
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_EXEC)
        seal_exec = _F_SEAL_EXEC
    except OSError:
        fd, seal_exec = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), 0
    try:
        os.fchmod(fd, 0o555)
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size, offset = os.fstat(source).st_size, 0
            while offset < size:
                offset += os.sendfile(fd, source, offset, size - offset)
        finally:
            os.close(source)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals | seal_exec)
    except BaseException:
        os.close(fd)
        raise
    return fd


def runs_sealed() -> bool:
    """Whether this process's own program is such a copy."""
    return os.readlink("/proc/self/exe").startswith("/memfd:")
