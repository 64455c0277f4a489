"""Blobs by digest: whole, checked and durable before they have their name.

    blobs/sha256/<hex>     content
    ingest/<hex>.partial   a blob under way that can go on where it stopped
    ingest/blob-<random>   one whose digest isn't known yet

All of this blocks, for as long as the page cache takes; `commit` waits for the disk and belongs in a thread when the blob is
large. The registry stands on this file alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from typing import BinaryIO, Final, Self

from onggi.errors import Corrupt, NotFound
from onggi.kernel.faults import point
from onggi.oci.digest import Digest, algorithm_of, hex_of, is_digest
from onggi.store import durable

ALGORITHMS: Final = ("sha256", "sha512")
_PIECE: Final = 1024 * 1024


class Content:
    """The blobs below a root."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._blobs = os.path.join(root, "blobs")
        self._ingest = os.path.join(root, "ingest")
        for directory in (os.path.join(self._blobs, "sha256"), self._ingest):
            os.makedirs(directory, mode=0o700, exist_ok=True)

    def path(self, digest: Digest) -> str:
        """Where the blob is, or will be."""
        if not is_digest(digest):
            raise ValueError(f"not a digest: {digest!r}")
        return os.path.join(self._blobs, algorithm_of(digest), hex_of(digest))

    def has(self, digest: Digest) -> bool:
        return os.path.exists(self.path(digest))

    def size(self, digest: Digest) -> int:
        """Raises NotFound."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError as error:
            raise NotFound(f"blob {digest} is not here") from error

    def open(self, digest: Digest) -> BinaryIO:
        """Raises NotFound. Stays readable should the blob be deleted meanwhile."""
        try:
            return open(self.path(digest), "rb")
        except FileNotFoundError as error:
            raise NotFound(f"blob {digest} is not here") from error

    def read(self, digest: Digest, limit: int = 16 * 1024 * 1024) -> bytes:
        """The bytes of a small blob, checked against the digest. Raises NotFound; Corrupt when they differ or are too many."""
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise Corrupt(f"blob {digest} is larger than {limit} bytes")
        if hashlib.new(algorithm_of(digest), data).hexdigest() != hex_of(digest):
            raise Corrupt(f"blob {digest} is damaged on disk (remove it and pull again)")
        return data

    def put(self, data: bytes) -> Digest:
        """Stores a small blob and returns its sha256 digest."""
        with self.ingest() as writer:
            writer.write(data)
            return writer.commit()

    def ingest(self) -> Writer:
        """A writer for a blob whose digest may not be known yet."""
        return Writer(self, os.path.join(self._ingest, f"blob-{secrets.token_hex(8)}"), resumable=False)

    def resume(self, digest: Digest) -> Writer:
        """A writer that goes on where an earlier one for the same digest stopped: `offset` says where.

        The bytes on disk are read again for the digest: nothing else is believed (R-13). One writer for a digest at a time.
        """
        return Writer(
            self,
            os.path.join(self._ingest, f"{hex_of(digest)}.partial"),
            resumable=True,
            algorithm=algorithm_of(digest),
        )

    def free_bytes(self) -> int:
        """What the blobs' file system has left for us."""
        status = os.statvfs(self._ingest)
        return status.f_bavail * status.f_frsize

    def spool_directory(self) -> str:
        """A new directory on the blobs' file system for what is looked through first. Left behind, Layers.clean removes it."""
        durable.check_writable()
        with durable.disk_errors("make a directory"):
            path = os.path.join(self._ingest, f"spool-{secrets.token_hex(8)}")
            os.mkdir(path, 0o700)
        return path

    def adopt(self, path: str, digest: Digest) -> None:
        """A file of this file system becomes the blob, durable. Blocks. Holds: the caller has taken the digest of its bytes."""
        durable.check_writable()
        with durable.disk_errors("write a blob"):
            final = self.path(digest)
            directory = os.path.dirname(final)
            if not os.path.isdir(directory):
                os.makedirs(directory, mode=0o700, exist_ok=True)
                durable.sync_directory_path(os.path.dirname(directory))
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                durable.sync_file(fd, final)
            finally:
                os.close(fd)
            os.rename(path, final)
            durable.sync_directory_path(directory)

    def delete(self, digest: Digest) -> None:
        """What isn't here is fine."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    def walk(self) -> Iterator[Digest]:
        for algorithm in ALGORITHMS:
            try:
                names = sorted(os.listdir(os.path.join(self._blobs, algorithm)))
            except FileNotFoundError:
                continue
            for name in names:
                if is_digest(f"{algorithm}:{name}"):
                    yield Digest(f"{algorithm}:{name}")

    def older_than(self, time_s: float) -> list[Digest]:
        """Blobs that got their name before `time_s` (seconds since 1970)."""
        found = []
        for digest in self.walk():
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self.path(digest)).st_ctime < time_s:
                    found.append(digest)
        return found

    def verify(self, digest: Digest) -> bool:
        """Whether the bytes on disk have the digest; reads all of them."""
        hasher = hashlib.new(algorithm_of(digest))
        with self.open(digest) as file:
            while piece := file.read(_PIECE):
                hasher.update(piece)
        return hasher.hexdigest() == hex_of(digest)

    def clean(self, *, partial: bool = False) -> int:
        """Deletes what an ended process has left under temporary names, and partial blobs too if asked; how many."""
        count = 0
        for name in os.listdir(self._ingest):
            if name.startswith("blob-") or (partial and name.endswith(".partial")):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._ingest, name))
                    count += 1
        return count


class Writer:
    """One blob under way. As a context manager it is aborted unless committed; a resumable one keeps its bytes."""

    def __init__(self, content: Content, path: str, *, resumable: bool, algorithm: str = "sha256") -> None:
        durable.check_writable()
        self._content = content
        self._path = path
        self._resumable = resumable
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self.offset = 0
        """Bytes written so far, those of earlier writers included."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if resumable else os.O_EXCL)
        with durable.disk_errors("write a blob"):
            self._fd = os.open(path, flags, 0o600)
        while resumable and (piece := os.read(self._fd, _PIECE)):
            self._hash.update(piece)
            self.offset += len(piece)

    @property
    def digest(self) -> Digest:
        """Of the bytes so far."""
        return Digest(f"{self._algorithm}:{self._hash.hexdigest()}")

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises NoSpace; the bytes before stay."""
        point("store.blob.write")
        view = memoryview(data)
        with durable.disk_errors("write a blob"):
            while view:
                written = os.write(self._fd, view)
                self._hash.update(view[:written])
                self.offset += written
                view = view[written:]

    def share(self) -> int:
        """Another descriptor of the bytes, to read from by position while more come. The caller's to close."""
        return os.dup(self._fd)

    def restart(self) -> None:
        """Forgets all bytes: the source can't go on where we are."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.new(self._algorithm)
        self.offset = 0

    def commit(self, digest: Digest | None = None, size: int | None = None) -> Digest:
        """The blob has its name and is durable. Raises Corrupt, and forgets the bytes, when digest or size is not as promised."""
        found = self.digest
        if size is not None and size != self.offset:
            self._discard()
            raise Corrupt(f"size validation failed: the blob has {self.offset} bytes, not {size}")
        if digest is not None and algorithm_of(digest) != self._algorithm:
            found = self._rehash(algorithm_of(digest))
        if digest is not None and digest != found:
            self._discard()
            raise Corrupt(f"filesystem layer verification failed for digest {digest}: the bytes have {found}")
        point("store.blob.written")
        with durable.disk_errors("write a blob"):
            final = self._content.path(found)
            directory = os.path.dirname(final)
            if not os.path.isdir(directory):
                os.makedirs(directory, mode=0o700, exist_ok=True)
                durable.sync_directory_path(os.path.dirname(directory))
            durable.sync_file(self._fd, final)
            os.rename(self._path, final)
            point("store.blob.renamed")
            durable.sync_directory_path(directory)
        self._close()
        return found

    def abort(self) -> None:
        """Nothing is stored; the bytes of a resumable blob stay for the next writer."""
        if self._fd < 0:
            return
        if self._resumable:
            self._close()
        else:
            self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def _rehash(self, algorithm: str) -> Digest:
        hasher = hashlib.new(algorithm)
        os.lseek(self._fd, 0, os.SEEK_SET)
        while piece := os.read(self._fd, _PIECE):
            hasher.update(piece)
        return Digest(f"{algorithm}:{hasher.hexdigest()}")

    def _discard(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
