"""Results on their way to the client: one file as a stream of bytes, or a directory as fsutil's DiffCopy from the sending side.

The client's exporter is told by its number; what it does with the files is its own affair.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from onggi.build.buildkit.pb import fsutil_pb2, session_pb2
from onggi.build.buildkit.rpc import Call, Code, RpcError
from onggi.build.buildkit.session import Session
from onggi.build.entries import DIRECTORY, FIFO, FILE, SYMLINK, Entry

METHOD: Final = "/moby.filesync.v1.FileSend/DiffCopy"
_EXPORTER: Final = "buildkit-attachable-exporter-id"
_METADATA: Final = "exporter-md-"
_MULTI_PLATFORM: Final = "buildkit-exporter-multi-platform"
_MESSAGE: Final = 64 * 1024
"""Bytes of one message: small enough to stay in the cache while it is copied from layer to layer."""
_PIECE: Final = 32 * 1024

_GO_KINDS: Final = {DIRECTORY: 1 << 31, SYMLINK: 1 << 27, FIFO: 1 << 25}

Packet = fsutil_pb2.Packet


def _check(session: Session) -> None:
    if not session.supports(METHOD):
        raise RpcError(Code.UNIMPLEMENTED, f"method {METHOD} not supported by the client")


async def send_file(session: Session, exporter: int, metadata: Mapping[str, str], pieces: AsyncIterator[bytes]) -> None:
    """One file. Raises RpcError with what the client says (a file that is there already), StreamEnded."""
    _check(session)
    headers = [(_EXPORTER, str(exporter)), *((_METADATA + name, value) for name, value in metadata.items())]
    async with session.channel.call(METHOD, headers) as call:
        async for piece in pieces:
            for at in range(0, len(piece), _MESSAGE):
                await call.send(session_pb2.BytesMessage(data=piece[at : at + _MESSAGE]))
        call.end()
        while await call.receive(session_pb2.BytesMessage) is not None:
            pass


async def send_directory(session: Session, exporter: int, entries: Sequence[Entry], spool: int) -> None:
    """A tree. `entries` have their bodies in `spool`. Raises RpcError, StreamEnded."""
    _check(session)
    headers = [(_EXPORTER, str(exporter)), (_MULTI_PLATFORM, "1")]
    async with session.channel.call(METHOD, headers) as call:
        await _Sender(call, in_order(entries), spool).run()


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """As fsutil walks: by name in each directory, a directory before what it holds; each path once, its last entry."""
    latest = {entry.path: entry for entry in entries if entry.path}
    return [latest[path] for path in sorted(latest, key=lambda path: path.split("/"))]


def stat_of(entry: Entry) -> fsutil_pb2.Stat:
    mode = entry.mode & 0o777 | _GO_KINDS.get(entry.kind, 0)
    mode |= 1 << 23 if entry.mode & stat.S_ISUID else 0
    mode |= 1 << 22 if entry.mode & stat.S_ISGID else 0
    mode |= 1 << 20 if entry.mode & stat.S_ISVTX else 0
    found = fsutil_pb2.Stat(path=entry.path, mode=mode, modTime=entry.mtime_ns, linkname=entry.link)
    if entry.kind == FILE:
        found.size = entry.size
    elif entry.kind == SYMLINK:
        found.size = len(entry.link)
    found.xattrs.update({name.decode("utf-8", "replace"): value for name, value in entry.xattrs.items()})
    return found


class _Sender:
    """Names everything, then answers what is asked for until the client has it all."""

    def __init__(self, call: Call, entries: Sequence[Entry], spool: int) -> None:
        self._call, self._entries, self._spool = call, entries, spool

    async def run(self) -> None:
        for entry in self._entries:
            await self._call.send(Packet(type=Packet.PACKET_STAT, stat=stat_of(entry)))
        await self._call.send(Packet(type=Packet.PACKET_STAT))
        while (asked := await self._call.receive(Packet)) is not None:
            if asked.type == Packet.PACKET_REQ:
                await self._body(asked.ID)
            elif asked.type == Packet.PACKET_ERR:
                raise RpcError(Code.UNKNOWN, f"error from receiver: {asked.data.decode('utf-8', 'replace')}")
            elif asked.type == Packet.PACKET_FIN:
                await self._call.send(Packet(type=Packet.PACKET_FIN))
                self._call.end()

    async def _body(self, number: int) -> None:
        if number >= len(self._entries) or self._entries[number].kind != FILE:
            raise RpcError(Code.INVALID_ARGUMENT, f"invalid file id {number}")
        entry = self._entries[number]
        at = 0
        while at < entry.size:
            piece = os.pread(self._spool, min(_PIECE, entry.size - at), entry.offset + at)
            if not piece:
                raise RpcError(Code.INTERNAL, f"{entry.path} is shorter than it was")
            await self._call.send(Packet(type=Packet.PACKET_DATA, ID=number, data=piece))
            at += len(piece)
        await self._call.send(Packet(type=Packet.PACKET_DATA, ID=number))
