"""A client looks into a result: LLBBridge's ReadFile, ReadDir and StatFile. Paths mean what they mean in the result's own root."""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
from typing import Final

from onggi.build.buildkit.pb import fsutil_pb2, gateway_pb2
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.build.exporters.trees import merged
from onggi.build.request import Built
from onggi.kernel.fds import Fd
from onggi.kernel.paths import Resolve, openat2
from onggi.store.layers import Layers
from onggi.store.unpack import is_whiteout

_READ_LIMIT: Final = 16 * 1024 * 1024 - 4096
_ENTRIES_LIMIT: Final = 100_000


def read_file(layers: Layers, built: Built, request: gateway_pb2.ReadFileRequest) -> bytes:
    """Blocks. Raises RpcError."""
    # A FIFO or device of the result must not hold whoever looks.
    with merged(layers, built.layers) as root, _opened(root, request.FilePath, os.O_RDONLY | os.O_NONBLOCK) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise RpcError(Code.INVALID_ARGUMENT, f"{request.FilePath} is no regular file")
        size = status.st_size
        offset, length = request.Range.Offset, request.Range.Length or size
        if offset < 0 or length < 0:
            raise RpcError(Code.INVALID_ARGUMENT, "a negative offset or length")
        if min(length, size) > _READ_LIMIT:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED, f"{request.FilePath} has more than {_READ_LIMIT} bytes: ask for a range"
            )
        return os.pread(file.fileno(), length, offset)


def stat_file(layers: Layers, built: Built, path: str) -> fsutil_pb2.Stat:
    """Blocks. Raises RpcError."""
    with merged(layers, built.layers) as root, _opened(root, path, os.O_PATH | os.O_NOFOLLOW) as file:
        return _stat(os.path.basename(path.rstrip("/")) or "/", os.fstat(file.fileno()))


def read_directory(layers: Layers, built: Built, request: gateway_pb2.ReadDirRequest) -> list[fsutil_pb2.Stat]:
    """Blocks. Raises RpcError."""
    with (
        merged(layers, built.layers) as root,
        _opened(root, request.DirPath, os.O_RDONLY | os.O_DIRECTORY) as directory,
    ):
        names = sorted(os.listdir(directory.fileno()))
        if request.IncludePattern:
            names = [name for name in names if fnmatch.fnmatchcase(name, request.IncludePattern)]
        if len(names) > _ENTRIES_LIMIT:
            raise RpcError(Code.RESOURCE_EXHAUSTED, f"{request.DirPath} has more than {_ENTRIES_LIMIT} entries")
        found = []
        for name in names:
            status = os.stat(name, dir_fd=directory.fileno(), follow_symlinks=False)
            if is_whiteout(status):
                continue
            link = os.readlink(name, dir_fd=directory.fileno()) if stat.S_ISLNK(status.st_mode) else ""
            found.append(_stat(name, status, link))
        return found


def _opened(root: Fd, path: str, flags: int) -> Fd:
    try:
        return openat2(root, path.lstrip("/") or ".", flags, Resolve.IN_ROOT | Resolve.NO_MAGICLINKS)
    except OSError as error:
        # ENXIO: a whiteout, in a result that is a difference.
        if error.errno not in (errno.ENOENT, errno.ENXIO):
            raise RpcError(Code.UNKNOWN, f"open {path}: {error.strerror}") from None
        raise RpcError(Code.NOT_FOUND, f"open {path}: no such file or directory") from None


def _stat(path: str, status: os.stat_result, link: str = "") -> fsutil_pb2.Stat:
    kinds = {stat.S_IFDIR: 1 << 31, stat.S_IFLNK: 1 << 27, stat.S_IFIFO: 1 << 25, stat.S_IFSOCK: 1 << 24}
    kinds |= {stat.S_IFBLK: 1 << 26, stat.S_IFCHR: 1 << 26 | 1 << 21}
    mode = status.st_mode & 0o777 | kinds.get(stat.S_IFMT(status.st_mode), 0)
    for bit, go_bit in ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20)):
        mode |= go_bit if status.st_mode & bit else 0
    return fsutil_pb2.Stat(
        path=path,
        mode=mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size,
        modTime=status.st_mtime_ns,
        linkname=link,
    )
