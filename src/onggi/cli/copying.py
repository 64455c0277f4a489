"""cp: between a container and the host, or a tar on stdin or stdout."""

from __future__ import annotations

import os
import sys
import tarfile

from onggi.cli.main import Command, Exit
from onggi.cli.transfer import blocks
from onggi.cli.units import human_size
from onggi.client import containers
from onggi.client.call import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.cli.flags import Options
    from onggi.cli.main import Context


def split(word: str) -> tuple[str, str]:
    """`container:path` → (container, path); a local path has no container: it begins with / or ., or has no colon."""
    if word.startswith(("/", ".")) or ":" not in word:
        return "", word
    container, _, path = word.partition(":")
    return container, path


def _cp(context: Context, options: Options, words: list[str]) -> None:
    source_container, source = split(words[0])
    target_container, target = split(words[1])
    if source_container and target_container:
        raise Exit(1, "copying between containers is not supported")
    if source_container:
        _from(context, options, source_container, source, target)
    elif target_container:
        _to(context, options, source, target_container, target)
    else:
        raise Exit(1, "must specify at least one container source")


class _Reader:
    """A stream of pieces as the file that tarfile reads."""

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


def _from(context: Context, options: Options, container: str, source: str, target: str) -> None:
    if options.on("follow-link"):
        source = _follow(context, container, source)
    pieces = context.engine.stream(containers.archive_get(container, source))
    if target == "-":
        if sys.stdout.isatty():
            raise Exit(1, "cowardly refusing to copy to a terminal")
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    into_directory = os.path.isdir(target)
    if target.endswith("/") and not into_directory:
        raise Exit(1, f'invalid output path: directory "{target}" does not exist')
    if not into_directory and not os.path.isdir(os.path.dirname(os.path.abspath(target))):
        raise Exit(1, f'invalid output path: directory "{os.path.dirname(os.path.abspath(target))}" does not exist')
    reader = _Reader(iter(pieces))
    with tarfile.open(fileobj=reader, mode="r|") as tar:  # type: ignore[call-overload]
        _unpack(tar, target, rename=not into_directory, contents=source.endswith("/."))
    if not options.on("quiet"):
        sys.stderr.write(f"Successfully copied {human_size(reader.count, 3)} to {os.path.abspath(target)}\n")


def _unpack(tar: tarfile.TarFile, target: str, *, rename: bool, contents: bool) -> None:
    """Entries below `target`; with `rename` their first part becomes `target`'s own name. Nothing is written outside."""
    directory, name = (
        (os.path.dirname(os.path.abspath(target)), os.path.basename(os.path.abspath(target)))
        if rename
        else (target, "")
    )
    for member in tar:
        _, slash, rest = member.name.strip("/").partition("/")
        if contents:
            member.name = f"{name}{slash and '/'}{rest}" if rename else rest or "."
        elif rename:
            member.name = name + slash + rest
        # The filter refuses what leaves the directory; the container's owner of a file needn't exist here.
        tar.extract(member, directory, filter="tar", set_attrs=True, numeric_owner=True)


def _to(context: Context, options: Options, source: str, container: str, target: str) -> None:
    if source == "-":
        context.engine(containers.archive_put(container, target, blocks("-"), copy_ids=options.on("archive")))
        return
    path = source.rstrip("/") or "/"
    if not os.path.lexists(path):
        raise Exit(1, f"lstat {os.path.abspath(source)}: no such file or directory")
    if options.on("follow-link"):
        path = os.path.realpath(path)
    directory, name = _place(context, container, target, source, path)
    sent = _Counted(path, name, contents=source.endswith("/."))
    context.engine(containers.archive_put(container, directory, sent.pieces(), copy_ids=options.on("archive")))
    if not options.on("quiet"):
        sys.stderr.write(f"Successfully copied {human_size(sent.count, 3)} to {container}:{target}\n")


def _stat(context: Context, container: str, path: str) -> dict[str, object] | None:
    """What the container has at `path`, None when nothing."""
    from onggi.client.errors import ApiError

    try:
        header = context.engine.head(
            Request("HEAD", f"/containers/{container}/archive", {"path": path}), "x-docker-container-path-stat"
        )
    except ApiError as error:
        if error.code == 404 and "No such container" not in str(error):
            return None
        raise
    return dict(containers.path_stat(header))


_DIRECTORY = 1 << 31


def _place(context: Context, container: str, target: str, source: str, path: str) -> tuple[str, str]:
    """(directory in the container, name there) by docker's rules (docs: cp, "The cp command behaves like Unix cp -a")."""
    found = _stat(context, container, target)
    base = os.path.basename(path) or "/"
    if found and int(str(found["mode"])) & _DIRECTORY:
        return target, base
    if os.path.isdir(path) and found:
        raise Exit(1, f"cannot copy a directory {source!r} over a file")
    if target.endswith("/") and not os.path.isdir(path):
        raise Exit(1, f'destination "{container}:{target}" must be a directory')
    clean = target.rstrip("/")
    return os.path.dirname(clean) or "/", os.path.basename(clean)


def _follow(context: Context, container: str, path: str) -> str:
    found = _stat(context, container, path)
    link = str(found["linkTarget"]) if found and found.get("linkTarget") else ""
    return (
        link if link.startswith("/") else os.path.normpath(os.path.join(os.path.dirname(path), link)) if link else path
    )


class _Counted:
    """A local tree as a tar, in pieces; `count` is its length so far."""

    def __init__(self, path: str, name: str, *, contents: bool) -> None:
        self._path, self._name, self._contents = path, name, contents
        self.count = 0
        self._pending: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pending.append(data)
        self.count += len(data)
        return len(data)

    def pieces(self) -> Iterator[bytes]:
        with tarfile.open(fileobj=self, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for path, name in self._walk():
                tar.add(path, name, recursive=False)
                yield from self._take()
        yield from self._take()

    def _take(self) -> Iterator[bytes]:
        pending, self._pending = self._pending, []
        if pending:
            yield b"".join(pending)

    def _walk(self) -> Iterator[tuple[str, str]]:
        top = "." if self._contents else self._name
        yield self._path, top
        if os.path.isdir(self._path) and not os.path.islink(self._path):
            for directory, directories, files in os.walk(self._path):
                relative = os.path.relpath(directory, self._path)
                inside = top if relative == "." else f"{top}/{relative}"
                for entry in sorted(directories + files):
                    yield os.path.join(directory, entry), f"{inside}/{entry}"


COMMANDS = {
    "cp": Command(
        _cp, "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\t{program} cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH", "Copy files/folders between a container and the local filesystem",
        """
-a --archive bool  Archive mode (copy all uid/gid information)
-L --follow-link bool  Always follow symbol link in SRC_PATH
-q --quiet bool  Suppress progress output during copy
""",
        least=2, most=2,
    ),
}  # fmt: skip
