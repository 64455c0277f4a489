"""What worker processes do for the store. Each function is a `worker.Job`: arguments, descriptors, a way to report."""

from __future__ import annotations

import errno
import os
from typing import Final

import msgspec

from onggi.errors import Corrupt
from onggi.kernel.faults import point
from onggi.oci.digest import Digest, DigestField
from onggi.store import checksum, diff, durable, remove
from onggi.store.directories import layer_directories
from onggi.store.pump import Pump
from onggi.store.sink import Sink
from onggi.store.tarread import TarReader
from onggi.store.tarstream import Packer, Packing
from onggi.store.unpack import Extractor, Limits, Rules
from onggi.store.worker import Report

_ARCHIVE_S_FAULT: Final = frozenset(
    {errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.EILSEQ, errno.EFBIG}
)
"""What the kernel answers to names that only a broken or hostile archive has."""


class UnpackLayer(msgspec.Struct, frozen=True):
    """Descriptors: the packed tar, the empty directory. `expected` is the diff id that the image's config promises."""

    expected: DigestField | None = None
    limits: Limits = Limits()


class Unpacked(msgspec.Struct, frozen=True):
    diff_id: DigestField
    size: int
    entries: int
    packed: int
    checksum: int | None = None


def unpack_layer(args: bytes, fds: list[int], report: Report) -> bytes:
    """A layer's tar into its directory, durable when this answers (one syncfs: an fsync for each file takes 100 times as long)."""
    request = msgspec.msgpack.decode(args, type=UnpackLayer)
    source, root = fds
    pump = Pump(source, request.limits, report)
    rules = Rules(whiteouts=True, root_metadata=True, limits=request.limits)
    extractor = Extractor(layer_directories(root), rules)
    reader = TarReader(pump.more)
    try:
        tally = extractor.extract(reader)
        # The digest is over all bytes, those after the end of the archive too.
        reader.drain()
    except OSError as error:
        if error.errno in _ARCHIVE_S_FAULT:
            raise Corrupt(f"tar: {error}") from error
        raise
    diff_id = pump.finish()
    if request.expected and diff_id != request.expected:
        raise Corrupt(
            f"layers from manifest don't match image configuration: the layer unpacks to {diff_id}, not {request.expected}"
        )
    point("store.layer.unpacked")
    durable.sync_filesystem(root, "the layer")
    point("store.layer.synced")
    return msgspec.msgpack.encode(Unpacked(diff_id, tally.size, tally.entries, pump.packed, tally.checksum))


def checksum_tree(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    return msgspec.msgpack.encode(checksum.of_tree(fds[0]))


class RemoveTrees(msgspec.Struct, frozen=True):
    """Names in the directory that is the descriptor."""

    names: list[str]


def remove_trees(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    (parent,) = fds
    for name in msgspec.msgpack.decode(args, type=RemoveTrees).names:
        remove.remove_entry(parent, os.path.basename(name))
    return b""


class PackTree(msgspec.Struct, frozen=True):
    """Descriptors: the tree, and for `pack_tree` where the tar goes."""

    whiteouts: bool = False
    gzip: bool = False
    """The descriptor gets a gzip stream; digest and size are the tar's all the same."""
    root_entry: bool = True
    """Whether the tree's own directory is in the tar."""
    latest_ns: int | None = None
    """No time in the tar is later."""


def pack_tree(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """A tree's tar into a descriptor; answers `Unpacked` with the tar's digest and size."""
    return _pack(args, fds[0], fds[1], sync=False)


def send_tree(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """As `pack_tree`, for whoever needs no digest: the kernel copies the files then."""
    request = msgspec.msgpack.decode(args, type=PackTree)
    packer = Packer(Sink(fds[1]), Packing(whiteouts=request.whiteouts, root_entry=request.root_entry))
    packer.tree(fds[0])
    packer.end()
    return b""


def digest_tree(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    """What `pack_tree` answers, without the tar; the tree is durable when this answers."""
    return _pack(args, fds[0], None, sync=True)


def _pack(args: bytes, tree: int, out: int | None, *, sync: bool) -> bytes:
    request = msgspec.msgpack.decode(args, type=PackTree)
    packer = Packer(
        Sink(out, digest=True, gzip=request.gzip),
        Packing(whiteouts=request.whiteouts, root_entry=request.root_entry, latest_ns=request.latest_ns),
    )
    packer.tree(tree)
    packer.end()
    if sync:
        durable.sync_filesystem(tree, "the layer")
    digest = Digest("sha256:" + packer.sink.hexdigest())
    return msgspec.msgpack.encode(Unpacked(digest, packer.files_size, packer.entries, packer.sink.size))


class Upper(msgspec.Struct, frozen=True):
    """Descriptor: a container's upper directory. `lower` as in Snapshot."""

    lower: list[str]


def changes(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    return msgspec.msgpack.encode(diff.changes(fds[0], msgspec.msgpack.decode(args, type=Upper).lower))


def usage(args: bytes, fds: list[int], report: Report) -> bytes:  # noqa: ARG001 - a Job's shape
    return msgspec.msgpack.encode(diff.usage(fds[0]))
