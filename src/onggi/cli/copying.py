"""cp: between a container and the host, or a tar on stdin or stdout.

Where a copy goes and under which name depends on what is there, as with `cp -a` (docs of docker cp; moby/go-archive, copy.go):
into a directory that is there, in the place of a file, or under a new name in a directory that is there.
"""

from __future__ import annotations

import os
import sys

from onggi.cli.command import Command, Exit
from onggi.cli.tarcopies import ContainerTree, LocalTree, renaming
from onggi.cli.transfer import blocks
from onggi.cli.units import human_size
from onggi.client import containers
from onggi.client.call import Request, quote
from onggi.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options

_DIRECTORY, _SYMLINK, _DEVICE = 1 << 31, 1 << 27, 1 << 26
"""Bits of Go's os.FileMode."""


def split(word: str) -> tuple[str, str]:
    """`container:path` → (container, path); a local path has no container: it begins with / or ., or has no colon."""
    if word.startswith(("/", ".")) or ":" not in word:
        return "", word
    container, _, path = word.partition(":")
    return container, path


def entry(path: str) -> tuple[str, str]:
    """(directory, name) of a path; the name is "." where its contents are meant (`path/.`)."""
    clean = os.path.normpath(path)
    if path.endswith("/.") or path == ".":
        return clean, "."
    return os.path.dirname(clean) or "/", os.path.basename(clean) or "."


class Target:
    """Where a copy is to go: a path, and what is there."""

    def __init__(self, path: str, *, exists: bool, is_directory: bool) -> None:
        self.path, self.exists, self.is_directory = path, exists, is_directory

    def place(self, *, from_directory: bool) -> tuple[str, str]:
        """(directory to unpack in, name for the copy or "" for its own). Raises Exit in docker's words."""
        if self.exists and self.is_directory:
            return self.path, ""
        if self.exists and from_directory:
            raise Exit(1, "cannot copy directory")
        if not self.exists and not from_directory and self.path.endswith(("/", "/.")):
            raise Exit(1, "no such directory")
        return entry(self.path)


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


def _tell(options: Options, count: int, place: str) -> None:
    """How much went where: at a terminal, or where --quiet=false asks for it."""
    quiet = options.on("quiet") if "quiet" in options.given else not sys.stdout.isatty()
    if not quiet:
        sys.stderr.write(f"Successfully copied {human_size(count, 3)} to {place}\n")


def _absolute(path: str) -> str:
    """The absolute path, with the slash or the `/.` at its end that says something."""
    found = os.path.abspath(path)
    if path.endswith("/.") or path == ".":
        return found.rstrip("/") + "/."
    return found + "/" if path.endswith("/") and found != "/" else found


def _from(context: Context, options: Options, container: str, source: str, target: str) -> None:
    if target == "-":
        if sys.stdout.isatty():
            raise Exit(1, "cowardly refusing to copy to a terminal")
        for piece in context.engine.stream(containers.archive_get(container, source)):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    target = _absolute(target)
    parent = os.path.dirname(os.path.normpath(target))
    if not os.path.isdir(parent):
        raise Exit(1, f'invalid output path: directory "{parent}" does not exist')
    shown = entry(source)[1]
    if options.on("follow-link"):
        source = _link_target(context, container, source)
    tree = ContainerTree(iter(context.engine.stream(containers.archive_get(container, source))))
    directory, name = _local_target(target).place(from_directory=tree.is_directory)
    inside = entry(source)[1]
    rename = renaming(inside, name or shown) if name or inside != shown else None
    tree.unpack(directory, rename)
    _tell(options, tree.count, target)


def _local_target(path: str) -> Target:
    """What a local path stands for once its links are followed; the last of them may point at nothing yet."""
    real = path
    for _ in range(10):
        if not os.path.islink(real.rstrip("/")):
            break
        real = os.path.join(os.path.dirname(real.rstrip("/")), os.readlink(real.rstrip("/")))
    return Target(real, exists=os.path.exists(real.rstrip("/") or "/"), is_directory=os.path.isdir(real))


def _link_target(context: Context, container: str, path: str) -> str:
    found = _stat(context, container, path)
    if not found or not int(str(found["mode"])) & _SYMLINK:
        return path
    return os.path.normpath(os.path.join(entry(path)[0], str(found["linkTarget"])))


def _to(context: Context, options: Options, source: str, container: str, target: str) -> None:
    place = _container_target(context, container, target)
    if source == "-":
        if not place.is_directory:
            raise Exit(1, f'destination "{container}:{target}" must be a directory')
        context.engine(containers.archive_put(container, place.path, blocks("-"), copy_ids=options.on("archive")))
        return
    path = _absolute(source)
    _, own = entry(path)
    _check_source(path)
    real = os.path.realpath(path) if options.on("follow-link") or own == "." else path.rstrip("/") or "/"
    directory, name = place.place(from_directory=os.path.isdir(real) and not os.path.islink(real))
    tree = LocalTree(real, name or own)
    context.engine(containers.archive_put(container, directory, tree.pieces(), copy_ids=options.on("archive")))
    _tell(options, tree.count, f"{container}:{target}")


def _check_source(path: str) -> None:
    """Raises Exit in Go's words when there is nothing, or no directory where the path says one."""
    try:
        os.lstat(path)
    except NotADirectoryError:
        raise Exit(1, "not a directory") from None
    except OSError as error:
        raise Exit(1, f"lstat {path}: {(error.strerror or '').lower()}") from None


def _container_target(context: Context, container: str, target: str) -> Target:
    found, path = _stat(context, container, target), target
    if found and int(str(found["mode"])) & _SYMLINK:
        path = os.path.normpath(os.path.join(entry(target)[0], str(found["linkTarget"])))
        found = _stat(context, container, path)
    mode = int(str(found["mode"])) if found else 0
    if mode & _DEVICE:
        raise Exit(1, f'destination "{container}:{target}" must be a directory or a regular file: got a device')
    return Target(path, exists=found is not None, is_directory=bool(mode & _DIRECTORY))


def _stat(context: Context, container: str, path: str) -> dict[str, object] | None:
    """What the container has at `path`; None when nothing, or when the copy itself will tell what is wrong."""
    request = Request("HEAD", f"/containers/{quote(container)}/archive", {"path": path})
    try:
        return dict(containers.path_stat(context.engine.head(request, "x-docker-container-path-stat")))
    except ApiError:
        return None


COMMANDS = {
    "cp": Command(
        _cp, "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\t{program} cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        "Copy files/folders between a container and the local filesystem",
        """
-a --archive bool  Archive mode (copy all uid/gid information)
-L --follow-link bool  Always follow symbol link in SRC_PATH
-q --quiet bool  Suppress progress output during copy
""",
        least=2, most=2,
    ),
}  # fmt: skip
