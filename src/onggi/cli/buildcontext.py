"""A build's context as a tar: a directory without what its ignore file names, what comes on stdin, named contexts beside it."""

from __future__ import annotations

import os
import sys

from onggi.cli.command import Exit
from onggi.cli.tarwriting import TarWriter
from onggi.cli.transfer import blocks
from onggi.ignore import IgnoreRules, read_ignore_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMED = ".onggi-contexts"
"""Where in the archive the engine looks for the named contexts `local:…`."""

_NAMES = ("Dockerfile", "Containerfile")
_IGNORE_NAMES = (".dockerignore", ".containerignore")


def from_stdin() -> Iterator[bytes]:
    """A tar as it comes, or a Dockerfile put into one."""
    body = blocks("-")
    if sys.stdin.isatty():
        raise Exit(1, "a context on stdin: pipe a tar or a Dockerfile in")
    head = next(body, b"")
    return _dockerfile_alone(head + b"".join(body)) if b"\0" not in head[:512] else _again(head, body)


def is_remote(text: str) -> bool:
    return text.startswith(("http://", "https://", "git://", "git@", "ssh://", "github.com/"))


def _again(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _dockerfile_alone(text: bytes) -> Iterator[bytes]:
    tar = TarWriter()
    yield from tar.data("Dockerfile", text, 0o644)
    yield from tar.end()


def from_directory(directory: str, dockerfile: str, named: Mapping[str, str]) -> tuple[Iterator[bytes], str]:
    """The context's tar, and the Dockerfile's path in it. A Dockerfile from elsewhere is put in under a name of its own.

    `named` are directories that come along, by their context's name.
    """
    if not os.path.isdir(directory):
        raise Exit(1, f'unable to prepare context: path "{directory}" not found')
    candidates = [os.path.join(directory, name) for name in _NAMES]
    path = (
        dockerfile
        if os.path.isabs(dockerfile)
        else os.path.join(os.getcwd(), dockerfile)
        if dockerfile
        else next((each for each in candidates if os.path.exists(each)), candidates[0])
    )
    if dockerfile == "-":
        name = ".dockerfile.stdin"
        return _tar(directory, {name: sys.stdin.buffer.read()}, named, keep=name), name
    if not os.path.exists(path) and dockerfile:
        path = os.path.join(directory, dockerfile)
    if not os.path.exists(path):
        raise Exit(
            1,
            f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {os.path.abspath(path)}: no such file or directory",
        )
    inside = os.path.relpath(os.path.realpath(path), os.path.realpath(directory))
    if inside.startswith(".."):
        with open(path, "rb") as file:
            name = ".dockerfile.outside"
            return _tar(directory, {name: file.read()}, named, keep=name), name
    return _tar(directory, {}, named, keep=inside), inside


def _tar(directory: str, extra: dict[str, bytes], named: Mapping[str, str], *, keep: str) -> Iterator[bytes]:
    """Files that .dockerignore lets through."""
    tar = TarWriter()
    for name, data in extra.items():
        yield from tar.data(name, data, 0o600)
    trees = [("", directory, keep), *((f"{NAMED}/{name}/", path, "") for name, path in named.items())]
    for prefix, root, kept in trees:
        for entry, name in _walk(root, "", _ignored(root, kept), kept):
            yield from tar.file(entry.path, f"{prefix}{name}", entry.stat(follow_symlinks=False))
    yield from tar.end()


def _ignored(directory: str, dockerfile: str) -> IgnoreRules:
    own = [f"{dockerfile}.dockerignore"] if dockerfile else []
    for name in (*own, *_IGNORE_NAMES):
        try:
            with open(os.path.join(directory, name), "rb") as file:
                return IgnoreRules(read_ignore_file(file.read()))
        except FileNotFoundError:
            continue
    return IgnoreRules([])


def _walk(directory: str, prefix: str, patterns: IgnoreRules, keep: str) -> Iterator[tuple[os.DirEntry[str], str]]:
    for entry in sorted(os.scandir(os.path.join(directory, prefix)), key=lambda e: e.name):
        name = f"{prefix}/{entry.name}" if prefix else entry.name
        is_directory = entry.is_dir(follow_symlinks=False)
        ignored = patterns.ignores(name) and name not in (keep, ".dockerignore")
        if not ignored:
            yield entry, name
        if is_directory and (not ignored or patterns.may_keep_below(name) or keep.startswith(f"{name}/")):
            yield from _walk(directory, name, patterns, keep)
