"""What a worker process does for `cp` and `export`. Descriptors: the root, one for each join, then the pipe if there is one."""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from typing import Final

import msgspec

from onggi.engine.pathwalk import Found, Join, PathWalk, lexical, view_directories
from onggi.errors import Forbidden, InvalidArgument, NotFound, OnggiError
from onggi.kernel import process
from onggi.kernel.clone import CloneFlag
from onggi.runtime.users import lookup, read_lines
from onggi.store.compression import PIECE_BYTES, open_reader
from onggi.store.sink import Sink
from onggi.store.tarread import TarReader
from onggi.store.tarstream import Packer, Packing
from onggi.store.unpack import Extractor, Limits, Rules
from onggi.store.worker import Report

HEAD: Final = struct.Struct("!I")
"""Length of the PathStat that stands before the tar of `get`."""

_FILE_MODES: Final = (
    (stat.S_ISDIR, 1 << 31),
    (stat.S_ISLNK, 1 << 27),
    (stat.S_ISBLK, 1 << 26),
    (stat.S_ISFIFO, 1 << 25),
    (stat.S_ISSOCK, 1 << 24),
    (stat.S_ISCHR, 1 << 26 | 1 << 21),
)
"""Go's fs.FileMode, in which clients get a file's type."""


class ViewSpec(msgspec.Struct, frozen=True):
    """`joins`: destination and whether it is read-only, one for each descriptor after the root. `seen`: mounts in the root."""

    container_id: str
    joins: list[tuple[str, bool]] = []
    seen: list[tuple[str, bool]] = []
    read_only_root: bool = False
    enters: bool = False
    """The descriptor after the root is the user namespace to enter, for owners that are the container's own."""


class PathStat(msgspec.Struct, frozen=True):
    """What the header X-Docker-Container-Path-Stat holds."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str = msgspec.field(name="linkTarget")


class Look(msgspec.Struct, frozen=True):
    """`gzip`: the tar is to be compressed (the PathStat before it isn't)."""

    view: ViewSpec
    path: str
    gzip: bool = False


class Put(msgspec.Struct, frozen=True):
    """`user`: docker's user[:group], to whom all files are to belong; "" leaves them to whom the tar says."""

    view: ViewSpec
    path: str
    keep_kind: bool = False
    user: str = ""


def go_mode(mode: int) -> int:
    value = mode & 0o777
    for is_kind, bit in _FILE_MODES:
        if is_kind(mode):
            value |= bit
    for bit, go in ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20)):
        if mode & bit:
            value |= go
    return value


def stat_path(look: Look, fds: list[int]) -> PathStat:
    """What a path is. No job: too little work for a process."""
    walk = _walk(look.view, fds)
    with _find(walk, look, follow_last=False) as found:
        return _path_stat(walk, found, look.path)


def get(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Writes HEAD, PathStat and the tar of a path to the last descriptor."""
    look = msgspec.msgpack.decode(args, type=Look)
    out = fds[-1]
    walk = _enter(look.view, fds)
    with _find(walk, look, follow_last=False) as found:
        head = msgspec.json.encode(_path_stat(walk, found, look.path))
        os.write(out, HEAD.pack(len(head)) + head)
        packer = Packer(Sink(out, gzip=look.gzip), _packing(walk, look.view))
        if stat.S_ISDIR(found.status.st_mode):
            base = os.fsencode(_last_name(look.path)).rstrip(b"/")
            directory = _reopen(found)
            try:
                packer.tree(directory, base, base + b"/", found.path)
            finally:
                os.close(directory)
        else:
            packer.single(found.fd, os.fsencode(_last_name(look.path)))
        packer.end()
    return b""


def export(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Writes the tar of the whole root without its mounts to the last descriptor."""
    look = msgspec.msgpack.decode(args, type=Look)
    walk = _enter(look.view, fds)
    with walk.find("/") as found:
        directory = _reopen(found)
        try:
            packer = Packer(Sink(fds[-1]), Packing(stay=True, root_entry=False))
            packer.tree(directory)
            packer.end()
        finally:
            os.close(directory)
    return b""


def put(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Unpacks the archive, packed in any known way, that the last descriptor gives into a directory of the container."""
    request = msgspec.msgpack.decode(args, type=Put)
    walk = _enter(request.view, fds)
    look = Look(request.view, request.path)
    with _find(walk, look) as found:
        if not stat.S_ISDIR(found.status.st_mode):
            raise InvalidArgument("extraction point is not a directory")
        _check_writable(request.view, walk, found)
        base = found.path
    source = _Descriptor(fds[-1])
    _, reader = open_reader(source)
    directories = view_directories(walk, base)
    rules = Rules(keep_kind=request.keep_kind, owner=_owner(request.user, fds[0]), limits=Limits(total_bytes=1 << 50))
    try:
        Extractor(directories, rules).extract(TarReader(lambda: reader.read(PIECE_BYTES)))
        while reader.read(PIECE_BYTES):
            pass
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        kind = Forbidden if error.errno == errno.EROFS else OnggiError
        raise kind((error.strerror or str(error)).lower()) from error
    finally:
        directories.close()
    return b""


class _Descriptor:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int, /) -> bytes:
        return os.read(self._fd, size)


def _owner(user: str, root: int) -> tuple[int, int] | None:
    """Ids of `user` as the container's own files have them."""
    if not user:
        return None
    found = lookup(user, (), read_lines(root, "/etc/passwd"), read_lines(root, "/etc/group"))
    return found.uid, found.gid


def _enter(view: ViewSpec, fds: list[int]) -> PathWalk:
    """The walk of a job: as the container's root, if that has ids of its own, so that owners are what they are inside."""
    if view.enters:
        process.setns(fds[1], CloneFlag.NEWUSER)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    return _walk(view, fds)


def _walk(view: ViewSpec, fds: list[int]) -> PathWalk:
    joins = [
        Join("/".join(lexical(path)), fd, read_only) for (path, read_only), fd in zip(view.joins, fds[1:], strict=False)
    ]
    return PathWalk(fds[0], joins)


def _packing(walk: PathWalk, view: ViewSpec) -> Packing:
    """What is mounted for the container is content; /proc, /sys and the like are not."""
    seen = {"/".join(lexical(path)) for path, _ in view.seen}
    return Packing(stay=True, enter={path: join.fd for path, join in walk.joins.items()}, cross=frozenset(seen))


def _find(walk: PathWalk, look: Look, *, follow_last: bool = True) -> Found:
    try:
        return walk.find(look.path, follow_last=follow_last or look.path.endswith(("/", "/.")))
    except FileNotFoundError as error:
        raise NotFound(f"Could not find the file {look.path} in container {look.view.container_id}") from error
    except OSError as error:
        raise OnggiError(error.strerror or str(error)) from error


def _path_stat(walk: PathWalk, found: Found, path: str) -> PathStat:
    status = found.status
    target = walk.final_target(path) if stat.S_ISLNK(status.st_mode) else ""
    return PathStat(_last_name(path), status.st_size, go_mode(status.st_mode), _rfc3339(status.st_mtime_ns), target)


def _last_name(path: str) -> str:
    """Go's filepath.Base, which leaves a dot at the end alone."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def _check_writable(view: ViewSpec, walk: PathWalk, found: Found) -> None:
    """Docker's refusals: the path lies in a mount that is read-only, or in none and the root is."""
    mounts = {path: join.read_only for path, join in walk.joins.items()}
    mounts |= {"/".join(lexical(path)): read_only for path, read_only in view.seen}
    inside = [path for path in mounts if found.path == path or found.path.startswith(path + "/")]
    if inside:
        if mounts[max(inside, key=len)]:
            raise InvalidArgument("mounted volume is marked read-only")
    elif view.read_only_root:
        raise InvalidArgument("container rootfs is marked read-only")


def _reopen(found: Found) -> int:
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=found.fd)


def _rfc3339(time_ns: int) -> str:
    seconds, fraction = divmod(time_ns, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"
