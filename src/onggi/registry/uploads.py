"""Blobs on their way in. An upload is a directory; how far it is, is the size of its file and nothing else (R-36).

    uploads/<id>/repository     which repository it belongs to
    uploads/<id>/data           the bytes so far

The digest is taken while bytes arrive. The state of that hash is a cache in this process: it counts only when it has seen
as many bytes as the file has, else (a restart, another replica) the file is read again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Final

from onggi.oci.digest import Digest, algorithm_of, hex_of
from onggi.registry.answers import Refused
from onggi.registry.names import Repository
from onggi.store import durable
from onggi.store.blocking import blocking
from onggi.store.content import Content

_ID: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_BATCH: Final = 1024 * 1024
_READ: Final = 1024 * 1024
_HASHES_KEPT: Final = 512


class Uploads:
    """All uploads below a root."""

    def __init__(self, root: str | os.PathLike[str], content: Content) -> None:
        self._root = os.path.join(root, "uploads")
        self._content = content
        self._hashes: OrderedDict[str, tuple[int, str, hashlib._Hash]] = OrderedDict()
        os.makedirs(self._root, mode=0o700, exist_ok=True)

    def begin(self, name: Repository) -> str:
        """A new upload's id, which can't be guessed and is good for `name` alone."""
        durable.check_writable()
        identifier = secrets.token_urlsafe(24)
        directory = os.path.join(self._root, identifier)
        with durable.disk_errors("begin an upload"):
            os.mkdir(directory, 0o700)
            for file, text in (("repository", name.encode()), ("data", b"")):
                fd = os.open(os.path.join(directory, file), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    os.write(fd, text)
                finally:
                    os.close(fd)
        return identifier

    def offset(self, name: Repository, identifier: str) -> int:
        """Bytes that are here. Raises Refused BLOB_UPLOAD_UNKNOWN."""
        return os.stat(self._data(name, identifier)).st_size

    def cancel(self, name: Repository, identifier: str) -> None:
        self._remove(os.path.dirname(self._data(name, identifier)))

    async def append(
        self, name: Repository, identifier: str, pieces: AsyncIterable[bytes], *, start: int | None, length: int | None
    ) -> int:
        """The new offset. `start` and `length` are what Content-Range promised.

        A chunk that is not as promised is taken back whole. Bytes of a body without a promise stay when the client goes away:
        it may go on behind them.
        """
        path = self._data(name, identifier)
        with _locked(path) as fd:
            offset = os.fstat(fd).st_size
            if start is not None and start != offset:
                raise Refused("RANGE_INVALID", f"the upload is at {offset}", headers=_at(identifier, offset))
            hasher = await self._hasher(identifier, fd, offset, "sha256")
            end = offset
            whole = False
            try:
                async for batch in _batches(pieces):
                    if length is not None and end + len(batch) - offset > length:
                        raise Refused("SIZE_INVALID", "the body is longer than Content-Range says")
                    await blocking(_write, fd, batch, hasher)
                    end += len(batch)
                if length is not None and end - offset != length:
                    raise Refused("SIZE_INVALID", "the body is shorter than Content-Range says")
                whole = True
            finally:
                if whole or length is None:
                    # What was written without a complaint is what the hash has seen.
                    self._keep(identifier, os.fstat(fd).st_size, "sha256", hasher)
                else:
                    os.ftruncate(fd, offset)
            return end

    async def finish(self, name: Repository, identifier: str, digest: Digest) -> None:
        """The bytes become the blob, durable. Raises Refused DIGEST_INVALID, and the upload is gone."""
        path = self._data(name, identifier)
        with _locked(path) as fd:
            size = os.fstat(fd).st_size
            hasher = await self._hasher(identifier, fd, size, algorithm_of(digest))
            found = hasher.hexdigest()
            if found != hex_of(digest):
                self._remove(os.path.dirname(path))
                raise Refused("DIGEST_INVALID", f"provided digest did not match uploaded content: {digest}")
            await blocking(self._publish, fd, path, digest)
        self._hashes.pop(identifier, None)
        self._remove(os.path.dirname(path))

    def discard(self, identifier: str) -> None:
        """Whatever is left of an upload that this process has begun."""
        self._hashes.pop(identifier, None)
        self._remove(os.path.join(self._root, identifier))

    def purge(self, age_s: float) -> int:
        """Removes uploads that nobody has added to for so long; how many."""
        count = 0
        for identifier in os.listdir(self._root):
            path = os.path.join(self._root, identifier, "data")
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_mtime < time.time() - age_s:
                    self._remove(os.path.dirname(path))
                    count += 1
        return count

    def _publish(self, fd: int, path: str, digest: Digest) -> None:
        final = self._content.path(digest)
        directory = os.path.dirname(final)
        with durable.disk_errors("store a blob"):
            if not os.path.isdir(directory):
                os.makedirs(directory, mode=0o700, exist_ok=True)
                durable.sync_directory_path(os.path.dirname(directory))
            durable.sync_file(fd, final)
            os.rename(path, final)
            durable.sync_directory_path(directory)

    def _data(self, name: Repository, identifier: str) -> str:
        """The upload's file. Raises Refused BLOB_UPLOAD_UNKNOWN, also when it is another repository's (S-70)."""
        if _ID.fullmatch(identifier):
            directory = os.path.join(self._root, identifier)
            with contextlib.suppress(FileNotFoundError), open(os.path.join(directory, "repository")) as file:
                path = os.path.join(directory, "data")
                if file.read() == name and os.path.exists(path):
                    return path
        raise Refused("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")

    async def _hasher(self, identifier: str, fd: int, size: int, algorithm: str) -> hashlib._Hash:
        """A hash that has seen the first `size` bytes."""
        seen, name, hasher = self._hashes.pop(identifier, (-1, "", None))
        if hasher is not None and seen == size and name == algorithm:
            return hasher
        return await blocking(_hash_file, fd, algorithm)

    def _keep(self, identifier: str, size: int, algorithm: str, hasher: hashlib._Hash) -> None:
        self._hashes[identifier] = (size, algorithm, hasher)
        while len(self._hashes) > _HASHES_KEPT:
            self._hashes.popitem(last=False)

    @staticmethod
    def _remove(directory: str) -> None:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[int]:
    """The file, for this request alone; also against another replica's."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("BLOB_UPLOAD_INVALID", "another request writes to this upload", status=409) from None
        os.lseek(fd, 0, os.SEEK_END)
        yield fd
    finally:
        os.close(fd)


async def _batches(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytearray]:
    """Pieces put together, so that a thread is asked once for a megabyte."""
    batch = bytearray()
    async for piece in pieces:
        batch += piece
        if len(batch) >= _BATCH:
            yield batch
            batch = bytearray()
    if batch:
        yield batch


def _write(fd: int, data: bytearray, hasher: hashlib._Hash) -> None:
    view = memoryview(data)
    with durable.disk_errors("write an upload"):
        while view:
            written = os.write(fd, view)
            hasher.update(view[:written])
            view = view[written:]


def _hash_file(fd: int, algorithm: str) -> hashlib._Hash:
    hasher = hashlib.new(algorithm)
    offset = 0
    while piece := os.pread(fd, _READ, offset):
        hasher.update(piece)
        offset += len(piece)
    return hasher


def _at(identifier: str, offset: int) -> dict[str, str]:
    return {"Range": range_text(offset), "Docker-Upload-UUID": identifier}


def range_text(offset: int) -> str:
    """`0-n` with n the last byte that is here; `0-0` also when none is, as distribution says it."""
    return f"0-{max(0, offset - 1)}"
