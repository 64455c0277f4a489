"""A directory of the client, received: fsutil's DiffCopy from the receiving side.

The client names all paths in order (STAT); what isn't known here by size, mode and time is asked for by its place in that order (REQ)
and comes in pieces (DATA, an empty one at the end); FIN both ways ends it. Nothing is unpacked: names become entries of a Context,
bodies go into the mirror's file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus

from onggi.build.buildkit.mirrors import Body, Known, Mirror
from onggi.build.buildkit.pb import fsutil_pb2
from onggi.build.buildkit.rpc import Call, Code, RpcError, decoded
from onggi.build.entries import DIRECTORY, FIFO, FILE, SYMLINK, Entry
from onggi.build.receivejob import clean_path
from onggi.errors import Corrupt

if TYPE_CHECKING:
    from onggi.build.buildkit.frames import Headers

METHOD: Final = "/moby.filesync.v1.FileSync/DiffCopy"
_ENTRIES_LIMIT: Final = 1_000_000
_BODIES_LIMIT: Final = 1 << 40

# Go's os.FileMode, which fsutil sends: io/fs/fs.go.
_GO_DIRECTORY, _GO_SYMLINK, _GO_DEVICE, _GO_FIFO, _GO_SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24
_GO_SETUID, _GO_SETGID, _GO_STICKY = 1 << 23, 1 << 22, 1 << 20
_GO_TYPES: Final = _GO_DIRECTORY | _GO_SYMLINK | _GO_DEVICE | _GO_FIFO | _GO_SOCKET


def mode_of(go_mode: int) -> int:
    """Permission bits as chmod(2) has them."""
    mode = go_mode & 0o777
    mode |= stat.S_ISUID if go_mode & _GO_SETUID else 0
    mode |= stat.S_ISGID if go_mode & _GO_SETGID else 0
    return mode | (stat.S_ISVTX if go_mode & _GO_STICKY else 0)


def request_metadata(name: str, *, follow: Sequence[str], exclude: Sequence[str], include: Sequence[str]) -> Headers:
    """What of the directory is wanted. Values that aren't ASCII are escaped, and marked."""
    headers: Headers = []
    for key, values in (
        ("dir-name", [name]),
        ("followpaths", follow),
        ("exclude-patterns", exclude),
        ("include-patterns", include),
    ):
        escape = not all(value.isascii() for value in values)
        headers += [(key, quote_plus(value) if escape else value) for value in values]
        if escape:
            headers.append((f"{key}-encoded", "1"))
    return headers


class Receiver:
    """One transfer. `progress` is told the bytes that have come."""

    def __init__(self, call: Call, mirror: Mirror, progress: Callable[[int], None]) -> None:
        self._call, self._mirror, self._progress = call, mirror, progress
        self._entries: list[Entry] = []
        self._named = 0
        self._awaited: dict[int, tuple[Entry, tuple[int, int, int, int, int], Body]] = {}
        self._all_named = False
        self._finished = False
        self._told: dict[bytes, Entry] = {}
        self._has_links = False
        self._bytes = self._received = 0

    async def run(self) -> list[Entry]:
        """All entries, parents first. Raises RpcError, StreamEnded, Corrupt, OSError. Cancelled: files that came whole stay known."""
        packet = fsutil_pb2.Packet
        while batch := await self._call.stream.batch():
            wanted: list[int] = []
            for data in batch:
                self._bytes += len(data)
                if (same := self._mirror.told.get(data)) is not None:
                    self._again(data, same)
                    continue
                found = decoded(data, packet)
                if found.type == packet.PACKET_STAT:
                    self._stat(found, data, wanted)
                elif found.type == packet.PACKET_DATA:
                    self._data(found.ID, found.data)
                elif found.type == packet.PACKET_ERR:
                    raise RpcError(Code.UNKNOWN, f"error from sender: {found.data.decode('utf-8', 'replace')}")
            for number in wanted:
                await self._call.send(packet(type=packet.PACKET_REQ, ID=number))
            if self._all_named and not self._awaited and not self._finished:
                self._finished = True
                await self._call.send(packet(type=packet.PACKET_FIN))
                self._call.end()
            self._progress(self._bytes)
        await self._call.check()
        if not self._finished:
            raise RpcError(Code.UNKNOWN, "the client ended the transfer of its files before its end")
        # Of hard links a Context makes something for itself: those entries are not to be seen twice.
        self._mirror.told = {} if self._has_links else self._told
        return self._entries

    def _again(self, data: bytes, entry: Entry) -> None:
        """A path of which the client says what it said the last time: 5,000 of them are most of a build that changes nothing."""
        self._count()
        self._told[data] = entry
        self._entries.append(entry)

    def _count(self) -> None:
        self._named += 1
        if self._named > _ENTRIES_LIMIT:
            raise Corrupt(f"the build context has more than {_ENTRIES_LIMIT} entries")

    def _stat(self, packet: fsutil_pb2.Packet, data: bytes, wanted: list[int]) -> None:
        if not packet.HasField("stat"):
            self._all_named = True
            return
        found = packet.stat
        number = self._named
        self._count()
        go_mode = found.mode
        path = clean_path(found.path.encode())
        entry = Entry(path, FILE, mode_of(go_mode), found.modTime)
        kind = go_mode & _GO_TYPES
        if kind == _GO_DIRECTORY:
            entry.kind = DIRECTORY
        elif kind == _GO_SYMLINK:
            entry.kind, entry.link = SYMLINK, found.linkname
        elif kind == _GO_FIFO:
            entry.kind = FIFO
        elif kind:
            return  # devices and sockets are no part of a context
        elif found.linkname:
            entry.link, entry.inode = clean_path(found.linkname.encode()), -1
            self._has_links = True
        elif not self._is_known(entry, found):
            self._ask(number, entry, found, wanted)
            data = b""  # what it is isn't known before it has come whole
        if found.xattrs:
            entry.xattrs = {name.encode(): value for name, value in found.xattrs.items() if _is_kept(name)}
        self._entries.append(entry)
        if data:
            self._told[data] = entry

    def _is_known(self, entry: Entry, found: fsutil_pb2.Stat) -> bool:
        """Whether a regular file is here already; the entry says where then."""
        known = self._mirror.files.get(entry.path)
        if known is None or known.signature != _signature(found):
            return False
        entry.size, entry.offset, entry.digest = known.entry.size, known.entry.offset, known.entry.digest
        return True

    def _ask(self, number: int, entry: Entry, found: fsutil_pb2.Stat, wanted: list[int]) -> None:
        self._awaited[number] = (entry, _signature(found), Body(self._mirror, min(max(found.size, 0), _BODIES_LIMIT)))
        wanted.append(number)

    def _data(self, number: int, data: bytes) -> None:
        awaited = self._awaited.get(number)
        if awaited is None:
            raise Corrupt(f"the client sent a file that nobody asked for ({number})")
        entry, signature, body = awaited
        if data:
            self._received += len(data)
            if self._received > _BODIES_LIMIT:
                raise Corrupt(f"the build context has more than {_BODIES_LIMIT} bytes")
            body.add(data)
            return
        del self._awaited[number]
        entry.offset, entry.digest = body.finish()
        entry.size = body.size
        if entry.size == signature[1]:
            # Else it changed while it was read: it is asked for again next time.
            self._mirror.files[entry.path] = Known(signature, entry)


def _signature(found: fsutil_pb2.Stat) -> tuple[int, int, int, int, int]:
    return found.mode, found.size, found.modTime, found.uid, found.gid


def _is_kept(name: str) -> bool:
    return name == "security.capability" or (name.startswith("user.") and not name.startswith("user.overlay."))


def forget_missing(mirror: Mirror, entries: Sequence[Entry]) -> None:
    """After a transfer: files that were not part of it."""
    if mirror.files:
        present = {entry.path for entry in entries}
        for path in [path for path in mirror.files if path not in present]:
            del mirror.files[path]


def own_descriptor(mirror: Mirror) -> int:
    """The mirror's file for a Context, which closes it."""
    return os.dup(mirror.spool)
