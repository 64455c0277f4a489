"""A build context in memory: its tree, paths in it, and digests of what COPY takes.

Paths are resolved here, among names, never by the kernel: `..` stops at the root, a link's target means what it means in the
context (S-49). The bodies are in one nameless file, the spool.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Final

from onggi.build.entries import DIRECTORY, FILE, SYMLINK, Entry
from onggi.errors import Corrupt, InvalidArgument, NotFound
from onggi.globs import Glob, has_wildcard, split_pivot, steps_of

_LINKS_LIMIT: Final = 40
"""As the kernel's own (path_resolution(7))."""


class Node:
    """An entry in its place. `children` is None for what is no directory."""

    __slots__ = ("_digest", "children", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.children: dict[str, Node] | None = {} if entry.kind == DIRECTORY else None
        self._digest = b""

    @property
    def is_directory(self) -> bool:
        return self.children is not None

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Node]]:
        """Itself and all below it, parents first, by name: (path from here, node)."""
        stack = [(prefix, self)]
        while stack:
            path, node = stack.pop()
            yield path, node
            if node.children:
                for name in sorted(node.children, reverse=True):
                    stack.append((f"{path}/{name}" if path else name, node.children[name]))

    def digest(self) -> bytes:
        """Of names, kinds, modes, contents, link targets and xattrs; not of times and owners."""
        if not self._digest:
            hasher = hashlib.sha256()
            for path, node in self.walk():
                entry = node.entry
                xattrs = sorted(entry.xattrs.items())
                # The root's own mode counts for a file only: a directory's contents are copied, not itself.
                mode = entry.mode if path or not node.is_directory else 0
                hasher.update(repr((path, entry.kind, mode, entry.size, entry.digest, entry.link, xattrs)).encode())
            self._digest = hasher.digest()
        return self._digest


class Context:
    """The tree, and the spool's descriptor, which is closed by `close`."""

    def __init__(self, entries: list[Entry], spool: int) -> None:
        self.spool = spool
        self.root = Node(Entry("", DIRECTORY, 0o755, 0))
        self._inodes = 0
        for entry in entries:
            self._add(entry)

    def again(self) -> Context:
        """The same files with a descriptor of its own: what is taken out of one is still in the other."""
        twin = Context([], os.dup(self.spool))
        twin.root = Node(self.root.entry)
        twin.root.children = dict(self.root.children or {})
        return twin

    def below(self, path: str) -> Context:
        """The directory `path` by itself, with a descriptor of its own. Raises NotFound."""
        node = self.find(path)
        if node is None or node.children is None:
            raise NotFound(f"{path} is no directory of the context")
        twin = Context([], os.dup(self.spool))
        twin.root = Node(node.entry)
        twin.root.children = node.children
        return twin

    def close(self) -> None:
        if self.spool >= 0:
            os.close(self.spool)
            self.spool = -1

    def read(self, node: Node, limit: int) -> bytes:
        """A file's bytes. Raises InvalidArgument when it is no file, or longer than `limit`."""
        entry = node.entry
        if entry.kind != FILE or entry.size > limit:
            raise InvalidArgument(f"{entry.path} is no regular file of at most {limit} bytes")
        return os.pread(self.spool, entry.size, entry.offset)

    def find(self, path: str) -> Node | None:
        """What `path` means in the context, links followed, also a last one; None when there is nothing."""
        return self._resolve(path, last=True)

    def remove(self, path: str) -> None:
        """Takes a path out of the tree, if it is there."""
        directory, _, name = path.rpartition("/")
        parent = self._resolve(directory, last=True)
        if parent is not None and parent.children is not None:
            parent.children.pop(name, None)

    def match(self, pattern: str, *, below: str = "", deep: bool = False) -> list[tuple[str, Node]]:
        """What a source of COPY means: (path, node), by path; more than one only for wildcards. Empty: nothing is there.

        `below` is a directory to begin in; `deep`: the element `**` is any number of directories.
        """
        parts = steps_of(pattern)
        if not has_wildcard(pattern):
            path = _unescaped("/".join([below, *parts] if below else parts))
            node = self.find(path)
            return [] if node is None else [(path, node)]
        start = self.find(below)
        found: dict[str, Node] = {} if start is None else {below: start}
        for part in parts:
            step = self._depths if deep and part == "**" else self._step
            found = dict(each for path, node in found.items() for each in step(path, node, part))
        return sorted(found.items())

    def match_parents(self, pattern: str) -> list[tuple[str, str, Node]]:
        """What a source of COPY --parents means: (path, what the destination gets of it, node). What is in another one comes with that."""
        before, after = split_pivot(pattern)
        found: list[tuple[str, str, Node]] = []
        for base, _ in self.match(before, deep=True):
            inside = ""
            for path, node in self.match(after, below=base, deep=True):
                if not (inside and path.startswith(inside)):
                    found.append((path, path[len(base) :].lstrip("/"), node))
                    inside = f"{path}/" if node.is_directory else inside
        return found

    def _depths(self, path: str, node: Node, part: str) -> Iterator[tuple[str, Node]]:
        """The place itself, and all that is below it; links are not followed."""
        del part
        yield path, node
        for below, each in node.walk():
            if below:
                yield f"{path}/{below}" if path else below, each

    def _step(self, path: str, node: Node, part: str) -> Iterator[tuple[str, Node]]:
        """One element of a pattern, below one directory."""
        if part == "..":
            above = path.rpartition("/")[0]
            parent = self.find(above)
            if parent is not None:
                yield above, parent
            return
        if node.children is None:
            return
        glob = Glob(part, deep=False)
        for name in sorted(node.children):
            if glob.matches(name):
                below = f"{path}/{name}" if path else name
                resolved = self.find(below)
                if resolved is not None:
                    yield below, resolved

    def _resolve(self, path: str, *, last: bool) -> Node | None:
        """Walks `path` as a process with the context for its root would."""
        links = 0
        trail: list[Node] = [self.root]
        parts = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        while parts:
            part = parts.pop()
            if part == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            children = trail[-1].children
            node = children.get(part) if children is not None else None
            if node is None:
                return None
            if node.entry.kind == SYMLINK and (parts or last):
                links += 1
                if links > _LINKS_LIMIT:
                    return None
                target = node.entry.link
                if target.startswith("/"):
                    trail = [self.root]
                parts += [each for each in reversed(target.split("/")) if each not in ("", ".")]
                continue
            trail.append(node)
        return trail[-1]

    def _add(self, entry: Entry) -> None:
        if not entry.path:
            self.root.entry = Entry("", DIRECTORY, entry.mode, entry.mtime_ns)
            return
        directory, _, name = entry.path.rpartition("/")
        parent = self._directory(directory)
        if parent.children is None:
            raise Corrupt(f"tar: {entry.path!r} lies in what is no directory")
        if entry.inode < 0:
            entry = self._linked(entry)
        old = parent.children.get(name)
        node = Node(entry)
        if old is not None and old.is_directory and node.is_directory:
            node.children = old.children
        parent.children[name] = node

    def _linked(self, entry: Entry) -> Entry:
        """A hard link gets what its first name has."""
        target = self._resolve(entry.link, last=False)
        if target is None or target.entry.kind != FILE:
            raise Corrupt(f"tar: {entry.path!r} is a hard link to {entry.link!r}, which isn't there")
        first = target.entry
        if not first.inode:
            self._inodes += 1
            first.inode = self._inodes
        return Entry(
            entry.path,
            FILE,
            first.mode,
            first.mtime_ns,
            first.size,
            first.offset,
            first.digest,
            "",
            first.inode,
            first.xattrs,
        )

    def _directory(self, path: str) -> Node:
        """The directory `path`, made with its parents where the archive has not named them."""
        node = self.root
        walked = ""
        for part in path.split("/") if path else ():
            walked = f"{walked}/{part}" if walked else part
            if node.children is None:
                return node
            child = node.children.get(part)
            if child is not None and child.entry.kind == SYMLINK:
                child = self.find(walked)
            if child is None or not child.is_directory:
                child = node.children[part] = Node(Entry(walked, DIRECTORY, 0o755, 0))
            node = child
        return node


def _unescaped(path: str) -> str:
    """Without the backslashes that make a wildcard plain."""
    letters = iter(path)
    return "".join(next(letters, "") if letter == "\\" else letter for letter in letters)
