"""An image's content at a volume's path, copied into the new volume. Runs in a worker process.

The path comes from the image's config and is hostile (CVE-2022-23648 copied the host's files into a container): it is
resolved in the image's root by the kernel, and the tree goes through the same packer and extractor as any layer: no link is
followed, sockets and host devices are left out, nothing is opened that isn't a regular file.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import Final

import msgspec

from onggi.errors import InvalidArgument
from onggi.kernel.faults import point
from onggi.kernel.filesystem import RenameFlag, renameat2
from onggi.kernel.paths import open_in_root, reopen
from onggi.store import durable, remove
from onggi.store.directories import layer_directories
from onggi.store.sink import Sink
from onggi.store.tarread import TarReader
from onggi.store.tarstream import Packer, Packing
from onggi.store.unpack import Extractor, Rules
from onggi.store.worker import Report

_PIECE: Final = 256 * 1024
_PATH_LIMIT: Final = 4096
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
COPY_NAME: Final = ".copy"
"""Stands beside `_data` while the content is copied."""


class CopyUp(msgspec.Struct, frozen=True):
    """Descriptors: the image's root, the volume's directory (which holds `_data`). `path` is in the image.

    `alone`: nobody else uses the volume, so `_data` may be replaced by the finished copy in one step.
    """

    path: str
    alone: bool


def check_path(path: str) -> None:
    """Raises InvalidArgument for what no honest config has."""
    if len(os.fsencode(path)) > _PATH_LIMIT or "\0" in path or not path.startswith("/"):
        raise InvalidArgument(f"invalid volume specification: {path[:200]!r}")


def copy_up(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """Answers whether anything was copied. The volume is left alone when it isn't empty."""
    request = msgspec.msgpack.decode(args, type=CopyUp)
    image, volume = fds
    check_path(request.path)
    try:
        found = open_in_root(image, request.path, os.O_PATH)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES}:
            return msgspec.msgpack.encode(False)
        raise
    with found:
        if not stat.S_ISDIR(os.fstat(found.fileno()).st_mode):
            return msgspec.msgpack.encode(False)
        with reopen(found, _DIRECTORY) as source:
            return msgspec.msgpack.encode(_fill(source.fileno(), volume, alone=request.alone))


def _fill(source: int, volume: int, *, alone: bool) -> bool:
    data = os.open("_data", _DIRECTORY | os.O_NOFOLLOW, dir_fd=volume)
    try:
        if os.listdir(data):
            return False
        remove.remove_entry(volume, COPY_NAME)
        os.mkdir(COPY_NAME, 0o755, dir_fd=volume)
        copy = os.open(COPY_NAME, _DIRECTORY | os.O_NOFOLLOW, dir_fd=volume)
        try:
            copy_tree(source, copy)
            durable.sync_filesystem(copy, "a volume's first content")
            point("volumes.copy.copied")
            if alone:
                # The empty _data goes: one moment empty, the next whole.
                renameat2(volume, COPY_NAME, volume, "_data", RenameFlag.EXCHANGE)
                remove.remove_entry(volume, COPY_NAME)
            else:
                _move_in(copy, data)
                remove.remove_entry(volume, COPY_NAME)
            point("volumes.copy.renamed")
            durable.sync_directory(volume, "a volume")
        finally:
            os.close(copy)
    finally:
        os.close(data)
    return True


def _move_in(copy: int, data: int) -> None:
    """For a volume that a container may have mounted: it must stay the same directory."""
    for name in os.listdir(copy):
        os.rename(name, name, src_dir_fd=copy, dst_dir_fd=data)
    status = os.fstat(copy)
    os.fchown(data, status.st_uid, status.st_gid)
    os.fchmod(data, stat.S_IMODE(status.st_mode))


def copy_tree(source: int, target: int) -> None:
    """All of the directory `source` in the empty directory `target`, whose own owner and mode become those of `source`."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    failure: list[Exception] = []

    def pack() -> None:
        try:
            packer = Packer(Sink(write_end), Packing(stay=True))
            packer.tree(source)
            packer.end()
        except BrokenPipeError:
            pass
        except Exception as error:  # noqa: BLE001 - raised below, in the job's thread
            failure.append(error)
        finally:
            os.close(write_end)

    packing = threading.Thread(target=pack, name="pack", daemon=True)
    packing.start()
    directories = layer_directories(target)
    try:
        Extractor(directories, Rules(root_metadata=True)).extract(TarReader(lambda: os.read(read_end, _PIECE)))
    finally:
        directories.close()
        os.close(read_end)
        packing.join()
    if failure:
        raise failure[0]
