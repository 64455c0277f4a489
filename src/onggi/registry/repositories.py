"""Repositories on disk: which blobs, manifests and tags each one shows.

    blobs/sha256/<hex>                                    bytes, shared by all repositories (store.content)
    repositories/<name>/_blobs/<algorithm>/<hex>          empty: the repository shows this blob
    repositories/<name>/_manifests/<algorithm>/<hex>      the media type: it shows this manifest
    repositories/<name>/_tags/<tag>                       the digest that the tag leads to
    repositories/<name>/_referrers/<subject>/<digest>     empty: the manifest says that it is about `subject`

A name's parts never begin with an underscore, so that no repository can be mistaken for another's directory. All of this
blocks; what writes waits for the disk and belongs in a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from onggi.oci.digest import Digest, algorithm_of, hex_of, is_digest
from onggi.registry.answers import Refused
from onggi.registry.names import Repository, is_tag
from onggi.store import durable
from onggi.store.content import Content

_TYPE_LIMIT: Final = 256


@dataclass(frozen=True, slots=True)
class StoredManifest:
    digest: Digest
    media_type: str
    size: int


class Repositories:
    """All repositories below a root."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.content = Content(root)
        self._root = os.path.join(root, "repositories")
        self._lock = os.path.join(root, "lock")
        os.makedirs(self._root, mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def naming(self, *, alone: bool = False) -> Iterator[None]:
        """While a manifest is checked and stored nothing that it names is collected, and the other way round (R-35).

        A lock of the file system, so that it holds between replicas that share the root.
        """
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)

    def probe(self) -> None:
        """Writes a few bytes through to the disk. Raises OSError, NoSpace, Unavailable."""
        durable.check_writable()
        path = os.path.join(self._root, f".probe-{secrets.token_hex(8)}")
        with durable.disk_errors("write to a repository"):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    os.write(fd, b"ready")
                    durable.sync_file(fd, path)
                finally:
                    os.close(fd)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    # Blobs

    def has_blob(self, name: Repository, digest: Digest) -> bool:
        return os.path.exists(self._blob(name, digest)) and self.content.has(digest)

    def blob_size(self, name: Repository, digest: Digest) -> int:
        """Raises Refused BLOB_UNKNOWN."""
        if not self.has_blob(name, digest):
            raise Refused("BLOB_UNKNOWN", "blob unknown to registry", detail=digest)
        return self.content.size(digest)

    def touch_blob(self, digest: Digest) -> None:
        """Somebody counts on this blob: the collector's grace begins anew."""
        with contextlib.suppress(OSError):
            os.utime(self.content.path(digest))

    def link_blob(self, name: Repository, digest: Digest) -> None:
        """The repository shows the blob from now on. Holds: the blob is in the store. Durable when it returns."""
        self.touch_blob(digest)
        self._put(self._blob(name, digest), b"")

    def unlink_blob(self, name: Repository, digest: Digest) -> None:
        """Takes the blob out of one repository; others keep it. Raises Refused BLOB_UNKNOWN."""
        if not self._take(self._blob(name, digest)):
            raise Refused("BLOB_UNKNOWN", "blob unknown to registry", detail=digest)

    # Manifests

    def resolve(self, name: Repository, reference: str) -> Digest:
        """The digest of a tag, or the digest itself. Raises Refused MANIFEST_UNKNOWN."""
        if is_digest(reference):
            return Digest(reference)
        if is_tag(reference):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(self._tag(name, reference)) as file:
                text = file.read()
                if is_digest(text):
                    return Digest(text)
        raise Refused("MANIFEST_UNKNOWN", "manifest unknown", detail=reference)

    def manifest(self, name: Repository, digest: Digest) -> StoredManifest:
        """Raises Refused MANIFEST_UNKNOWN."""
        try:
            with open(self._manifest(name, digest)) as file:
                media_type = file.read(_TYPE_LIMIT)
            return StoredManifest(digest, media_type, self.content.size(digest))
        except (OSError, LookupError):
            raise Refused("MANIFEST_UNKNOWN", "manifest unknown", detail=digest) from None

    def has_manifest(self, name: Repository, digest: Digest) -> bool:
        return os.path.exists(self._manifest(name, digest)) and self.content.has(digest)

    def put_manifest(
        self, name: Repository, data: bytes, digest: Digest, media_type: str, tags: list[str], subject: Digest | None
    ) -> None:
        """Bytes, then the link, then the tags: whatever a crash leaves, no name leads to what isn't there.

        Holds: `naming`; what the manifest names is here.
        """
        with self.content.ingest() as writer:
            writer.write(data)
            writer.commit(digest, len(data))
        self._put(self._manifest(name, digest), media_type.encode())
        if subject:
            self._put(self._referrer(name, subject, digest), b"")
        for tag in tags:
            self._put(self._tag(name, tag), digest.encode())

    def move_tag(self, name: Repository, tag: str, digest: Digest) -> None:
        """Holds: the repository shows the manifest. Nothing is written when the tag leads there already."""
        with contextlib.suppress(Refused):
            if self.resolve(name, tag) == digest:
                return
        self._put(self._tag(name, tag), digest.encode())

    def delete_tag(self, name: Repository, tag: str) -> None:
        if not self._take(self._tag(name, tag)):
            raise Refused("MANIFEST_UNKNOWN", "manifest unknown", detail=tag)

    def delete_manifest(self, name: Repository, digest: Digest, subject: Digest | None) -> None:
        """The manifest goes, and before it all tags that lead to it. Raises Refused MANIFEST_UNKNOWN."""
        for tag in self.tags(name):
            with contextlib.suppress(Refused):
                if self.resolve(name, tag) == digest:
                    self._take(self._tag(name, tag))
        if not self._take(self._manifest(name, digest)):
            raise Refused("MANIFEST_UNKNOWN", "manifest unknown", detail=digest)
        if subject:
            self._take(self._referrer(name, subject, digest))

    # Lists

    def exists(self, name: Repository) -> bool:
        return any(os.path.isdir(os.path.join(self._directory(name), kind)) for kind in ("_blobs", "_manifests"))

    def tags(self, name: Repository) -> list[str]:
        """Sorted as the spec wants: by bytes."""
        return sorted(tag for tag in _names(os.path.join(self._directory(name), "_tags")) if is_tag(tag))

    def manifests(self, name: Repository) -> Iterator[Digest]:
        directory = os.path.join(self._directory(name), "_manifests")
        return (
            Digest(f"{algorithm}:{hexadecimal}")
            for algorithm in _names(directory)
            for hexadecimal in _names(os.path.join(directory, algorithm))
            if is_digest(f"{algorithm}:{hexadecimal}")
        )

    def referrers(self, name: Repository, subject: Digest) -> list[Digest]:
        return sorted(
            Digest(text) for text in _names(os.path.dirname(self._referrer(name, subject, subject))) if is_digest(text)
        )

    def names(self, after: str = "") -> Iterator[Repository]:
        """Names of repositories that have something, sorted, those behind `after`."""
        pending = [""]
        found: list[str] = []
        while pending:
            prefix = pending.pop()
            for entry in _names(os.path.join(self._root, prefix)):
                name = f"{prefix}/{entry}" if prefix else entry
                if not entry.startswith("_"):
                    pending.append(name)
                elif entry == "_manifests" and prefix:
                    found.append(prefix)
        return (Repository(name) for name in sorted(found) if name > after)

    def collect(self, keep: set[Digest], grace_s: float) -> list[Digest]:
        """Deletes blobs that nothing names and nobody has touched for `grace_s`; which.

        `keep` was made by reading all manifests. A blob is looked at again under the lock that a push of a manifest takes: what
        was touched meanwhile stays.
        """
        gone = []
        for digest in list(self.content.walk()):
            if digest in keep:
                continue
            with self.naming(alone=True), contextlib.suppress(FileNotFoundError):
                if os.stat(self.content.path(digest)).st_mtime < time.time() - grace_s:
                    self.content.delete(digest)
                    gone.append(digest)
        return gone

    # Files

    def _directory(self, name: Repository) -> str:
        return os.path.join(self._root, name)

    def _blob(self, name: Repository, digest: Digest) -> str:
        return os.path.join(self._directory(name), "_blobs", algorithm_of(digest), hex_of(digest))

    def _manifest(self, name: Repository, digest: Digest) -> str:
        return os.path.join(self._directory(name), "_manifests", algorithm_of(digest), hex_of(digest))

    def _tag(self, name: Repository, tag: str) -> str:
        return os.path.join(self._directory(name), "_tags", tag)

    def _referrer(self, name: Repository, subject: Digest, digest: Digest) -> str:
        return os.path.join(self._directory(name), "_referrers", subject, digest)

    def _put(self, path: str, data: bytes) -> None:
        """A small file under its name, durable with all directories above it."""
        with durable.disk_errors("write to a repository"):
            directory = os.path.dirname(path)
            _make_directories(self._root, directory)
            temporary = os.path.join(directory, f".{secrets.token_hex(8)}")
            try:
                fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    os.write(fd, data)
                    durable.sync_file(fd, path)
                finally:
                    os.close(fd)
                os.rename(temporary, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
            durable.sync_directory_path(directory)

    def _take(self, path: str) -> bool:
        """Whether there was one to take away."""
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        durable.sync_directory_path(os.path.dirname(path))
        return True


def _names(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make_directories(root: str, path: str) -> None:
    """`path` below `root`, each new directory's name synced."""
    if path == root or os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_directories(root, parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    durable.sync_directory_path(parent)
