"""Trees as tars for cp: a local one read piece by piece, a container's written below a directory.

A container's tar is a stranger's: its names may not leave the directory, and what lies in its way is replaced, not written
through (a link that the user has there must not lead a file elsewhere).
"""

from __future__ import annotations

import os
import stat
import tarfile

from onggi.cli.command import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rename = Callable[[str], str]


def renaming(old: str, new: str) -> Rename:
    """Puts `new` in the place of the first part of names that begin with `old`; "." is the tree itself."""

    def rename(name: str) -> str:
        bare = name.strip("/")
        if old in (".", ""):
            bare = bare.removeprefix("./")
            return new if bare in (".", "") else f"{new}/{bare}"
        first, slash, rest = bare.partition("/")
        return f"{new}{slash}{rest}" if first == old else bare

    return rename


class PieceReader:
    """A stream of pieces as the file that tarfile reads; `count` is its length so far."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._buffer = pieces, b""
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._buffer) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._buffer += piece
        wanted = len(self._buffer) if size < 0 else size
        data, self._buffer = self._buffer[:wanted], self._buffer[wanted:]
        self.count += len(data)
        return data


class LocalTree:
    """`path` as a tar, in pieces; its top is called `name`. `count` is its length so far."""

    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, name
        self.count = 0
        self._pending: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pending.append(data)
        self.count += len(data)
        return len(data)

    def pieces(self) -> Iterator[bytes]:
        with tarfile.open(fileobj=self, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for path, name in self._walk():
                if not stat.S_ISSOCK(os.lstat(path).st_mode):  # a socket is of no use elsewhere
                    tar.add(path, name, recursive=False)
                    yield from self._take()
        yield from self._take()

    def _take(self) -> Iterator[bytes]:
        pending, self._pending = self._pending, []
        if pending:
            yield b"".join(pending)

    def _walk(self) -> Iterator[tuple[str, str]]:
        yield self._path, self._name
        if os.path.isdir(self._path) and not os.path.islink(self._path):
            for directory, directories, files in os.walk(self._path):
                relative = os.path.relpath(directory, self._path)
                inside = self._name if relative == "." else f"{self._name}/{relative}"
                for entry in sorted(directories + files):
                    yield os.path.join(directory, entry), f"{inside}/{entry}"


class ContainerTree:
    """A container's tar; `is_directory` is known from its first entry on."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._reader = PieceReader(pieces)
        self._tar = tarfile.open(fileobj=self._reader, mode="r|")  # type: ignore[call-overload]  # noqa: SIM115 - closed in unpack
        self._first = self._tar.next()

    @property
    def is_directory(self) -> bool:
        return self._first is not None and bool(self._first.isdir())

    @property
    def count(self) -> int:
        return self._reader.count

    def unpack(self, directory: str, rename: Rename | None) -> None:
        """Writes everything below `directory`, as the user's own files. Raises Exit."""
        # Owners are the container's business: docker's client doesn't carry them over either.
        self._tar.chown = lambda *_: None
        with self._tar as tar:
            member = self._first
            while member is not None:
                if rename:
                    member.name = rename(member.name)
                    if member.islnk():
                        member.linkname = rename(member.linkname)
                self._extract(member, directory)
                member = tar.next()

    def _extract(self, member: tarfile.TarInfo, directory: str) -> None:
        path = os.path.join(directory, member.name)
        try:
            is_directory = stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            is_directory = None
        if is_directory and not member.isdir():
            raise Exit(1, f'cannot overwrite directory "{path}" with non-directory "{directory}"')
        if is_directory is False and member.isdir():
            raise Exit(1, f'cannot overwrite non-directory "{path}" with directory "{directory}"')
        if is_directory is False:
            os.unlink(path)
        try:
            self._tar.extract(member, directory, filter="tar", set_attrs=True, numeric_owner=True)
        except (tarfile.TarError, OSError, KeyError) as error:
            raise Exit(1, str(error)) from None
