"""What COPY and ADD take, found and digested before anything is copied: that is their part of the step's key."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from onggi.build.context import Context, Node
from onggi.build.copyjob import InTree, Spooled
from onggi.build.entries import DIRECTORY, Entry
from onggi.build.errors import BuildFailed
from onggi.build.fetching import Fetcher, is_git, is_remote, name_of
from onggi.build.instructions import Copy
from onggi.globs import has_wildcard
from onggi.ignore import IgnoreRules
from onggi.oci.digest import Digest


@dataclass(slots=True)
class Sources:
    """`items` for the copying job, `digest` over their content, `kind` (file, dir, multi) for history's text.

    `layers` are those of the stage or image that `InTree` items are in.
    """

    items: list[Spooled | InTree] = field(default_factory=list)
    digests: list[tuple[str, ...]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    layers: Sequence[Digest] = ()

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.digests).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def described(self) -> str:
        """`file:…`, `dir:…` or `multi:…`, as docker's history has it."""
        return f"{self.kinds[0] if len(self.kinds) == 1 else 'multi'}:{self.digest}"

    def add(self, name: str, nodes: list[Entry], digest: bytes, kind: str, *, unpack: bool) -> None:
        self.items.append(Spooled(name, nodes, unpack))
        self.digests.append((name if kind == "file" else "", kind, digest.hex()))
        self.kinds.append(kind)


async def from_context(
    instruction: Copy, paths: Sequence[str], bodies: Sequence[tuple[str, str]], context: Context, fetcher: Fetcher
) -> Sources:
    """`paths` and `bodies` (name and text of heredocs) with their variables replaced. Raises BuildFailed, InvalidArgument."""
    found = Sources()
    word = instruction.word
    rules = IgnoreRules(instruction.exclude)
    for path in paths:
        if instruction.add and is_git(path):
            raise BuildFailed("ADD failed: git repositories are not supported here: add an archive of it by its URL")
        if is_remote(path):
            if not instruction.add:
                raise BuildFailed(f"source can't be a URL for {word}")
            name = name_of(path, needed=instruction.destination.endswith("/"))
            entry = await fetcher.fetch(path, instruction.checksum)
            digest = entry.digest + str(entry.mtime_ns).encode()
            found.add(name, [entry], digest, "file", unpack=bool(instruction.unpack))
            continue
        if instruction.checksum:
            raise BuildFailed(
                "checksum can't be specified for COPY" if not instruction.add else "checksum requires HTTP(S) sources"
            )
        matches = context.match(path)
        if not matches:
            if has_wildcard(path):
                raise BuildFailed(f"{word} failed: no source files were specified")
            raise BuildFailed(
                f"{word} failed: file not found in build context or excluded by .dockerignore: "
                f"stat {path.strip('/')}: file does not exist"
            )
        # A large tree takes a while to digest: the loop goes on meanwhile.
        await asyncio.to_thread(_add_matches, found, instruction, matches, path, rules)
    for name, text in bodies:
        data = text.encode("utf-8", "surrogateescape")
        entry = await fetcher.keep(data, 0o644)
        found.add(name, [entry], entry.digest, "file", unpack=False)
    if not found.items:
        raise BuildFailed(f"{word} failed: no source files were specified")
    return found


def _add_matches(
    found: Sources, instruction: Copy, matches: list[tuple[str, Node]], pattern: str, rules: IgnoreRules
) -> None:
    unpack = instruction.add and instruction.unpack is not False
    pivot = pattern.find("/./") if instruction.parents else -1
    for path, node in matches:
        if path and rules and rules.ignores(path):
            continue
        name = path.rpartition("/")[2]
        if instruction.parents:
            name = path[len(pattern[:pivot].strip("/")) :].lstrip("/") if pivot >= 0 else path
        if not node.is_directory:
            entry = msgspec.structs.replace(node.entry, path="")
            found.add(name, [entry], node.digest(), "file", unpack=unpack)
            continue
        entries = [Entry("", DIRECTORY, node.entry.mode, node.entry.mtime_ns)]
        digest = node.digest()
        for below, each in node.walk():
            if below and not (rules and _ignored(rules, below, path)):
                entries.append(msgspec.structs.replace(each.entry, path=below))
        if rules:
            digest = hashlib.sha256(
                repr([(e.path, e.mode, e.kind, e.digest, e.link) for e in entries]).encode()
            ).digest()
        found.add(
            name if instruction.parents else "",
            entries,
            digest + name.encode() * instruction.parents,
            "dir",
            unpack=False,
        )


def _ignored(rules: IgnoreRules, below: str, path: str) -> bool:
    """Patterns of --exclude may speak of the context's paths or of those below the source."""
    return rules.ignores(below) or bool(path and rules.ignores(f"{path}/{below}"))


def from_tree(paths: Sequence[str], layers: Sequence[Digest]) -> Sources:
    """Sources in another stage or image: its layers stand for its content."""
    return Sources(
        items=[InTree(path) for path in paths],
        digests=[(*paths, *layers)],
        kinds=["multi" if len(paths) > 1 else "dir"],
        layers=layers,
    )
