"""What COPY and ADD take, found and digested before anything is copied: that is their part of the step's key."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from onggi.build.context import Context, Node
from onggi.build.copyjob import InTree, Spooled
from onggi.build.entries import DIRECTORY, Entry
from onggi.build.errors import BuildFailed
from onggi.build.fetching import ABSENT, Fetcher, name_of
from onggi.build.plan import CopyStepPlan
from onggi.globs import has_wildcard
from onggi.ignore import IgnoreRules
from onggi.oci.digest import Digest

if TYPE_CHECKING:
    from onggi.build.solving import Solving
    from onggi.build.vertices import Vertex

OWN_SPOOL = 1
"""Number of the build's own spool among a copying job's; 0 is that of the context."""


@dataclass(slots=True)
class Sources:
    """`items` for the copying job, `digests` over their content. `files`: path and digest of each, for who asks what changed.

    `layers` are those of the stage or image that `InTree` items are in.
    """

    items: list[Spooled | InTree] = field(default_factory=list)
    digests: list[tuple[str, ...]] = field(default_factory=list)
    layers: Sequence[Digest] = ()
    files: list[tuple[str, str]] = field(default_factory=list)
    spools: list[int] = field(default_factory=list)
    """Of repositories: their numbers follow OWN_SPOOL."""
    absent: list[tuple[Spooled, str]] = field(default_factory=list)
    """Files from the network whose bodies haven't come, with their addresses."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.digests).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def is_directory(self) -> bool:
        """Whether the first one is the contents of a directory."""
        first = self.items[0]
        return isinstance(first, Spooled) and first.entries[0].kind == DIRECTORY

    def add(self, name: str, nodes: list[Entry], digest: bytes, kind: str, *, unpack: bool, spool: int = 0) -> None:
        self.items.append(Spooled(name, nodes, unpack, spool))
        self.digests.append((name if kind == "file" else "", kind, digest.hex()))
        self.files += [(each.path or name, each.digest.hex()[:16]) for each in nodes if each.digest]


def add_from_context(found: Sources, step: CopyStepPlan, path: str, context: Context) -> None:
    """What `path` (perhaps with wildcards) means in a context. Raises BuildFailed."""
    word, parents = step.copy.word, step.copy.parents
    matches = context.match_parents(path) if parents else _named(context.match(path))
    if not matches:
        if has_wildcard(path):
            return
        told = f'"/{path.strip("/")}": not found'
        raise BuildFailed(
            f"failed to compute cache key: failed to calculate checksum of ref {step.origin.name}: {told}",
            classic=f"{word} failed: file not found in build context or excluded by .dockerignore: "
            f"stat {path.strip('/')}: file does not exist",
        )
    unpack = step.copy.add and step.copy.unpack is not False
    _add_matches(found, matches, IgnoreRules(step.exclude), unpack=unpack, parents=parents)


def _named(matches: Sequence[tuple[str, Node]]) -> list[tuple[str, str, Node]]:
    """With the name that a destination directory gets."""
    return [(path, path.rpartition("/")[2], node) for path, node in matches]


async def add_bodies(found: Sources, step: CopyStepPlan, fetcher: Fetcher) -> None:
    """Heredocs."""
    for name, text in step.bodies:
        entry = await fetcher.keep(text.encode("utf-8", "surrogateescape"), 0o644)
        found.add(name, [entry], entry.digest, "file", unpack=False, spool=OWN_SPOOL)


async def add_remote(found: Sources, step: CopyStepPlan, url: str, fetcher: Fetcher) -> None:
    """A file from the network. Raises BuildFailed, InvalidArgument."""
    name = name_of(url, needed=step.destination.endswith("/"))
    entry = await fetcher.look(url, step.copy.checksum)
    digest = entry.digest + str(entry.mtime_ns).encode()
    found.add(name, [entry], digest, "file", unpack=bool(step.copy.unpack), spool=OWN_SPOOL)
    item = found.items[-1]
    if entry.offset == ABSENT and isinstance(item, Spooled):
        found.absent.append((item, url))


async def add_repository(found: Sources, step: CopyStepPlan, url: str, solving: Solving, vertex: Vertex) -> None:
    """All that a git repository holds. Raises BuildFailed."""
    context = await solving.sources.git.context(
        url, vertex, keep_git_dir=step.copy.keep_git_dir, checksum=step.copy.checksum
    )
    found.spools.append(context.spool)
    at = len(found.items)
    _add_matches(found, [("", "", context.root)], IgnoreRules(step.exclude), unpack=False, parents=False)
    for item in found.items[at:]:
        if isinstance(item, Spooled):
            item.spool = OWN_SPOOL + len(found.spools)


async def add_local(found: Sources, step: CopyStepPlan, paths: Sequence[str], context: Context) -> None:
    """A large tree takes a while to digest: the loop goes on meanwhile. Raises BuildFailed."""
    for path in paths:
        await asyncio.to_thread(add_from_context, found, step, path, context)


def _add_matches(
    found: Sources,
    matches: Sequence[tuple[str, str, Node]],
    rules: IgnoreRules,
    *,
    unpack: bool,
    parents: bool,
) -> None:
    for path, name, node in matches:
        if path and rules and rules.ignores(path):
            continue
        if not node.is_directory:
            entry = msgspec.structs.replace(node.entry, path="")
            found.add(name, [entry], node.digest(), "file", unpack=unpack)
            continue
        # The root's own time is that of the client's directory: nothing that a build should show.
        entries = [Entry("", DIRECTORY, node.entry.mode, node.entry.mtime_ns if path else 0)]
        digest = node.digest()
        for below, each in node.walk():
            if below and not (rules and _ignored(rules, below, path)):
                entries.append(msgspec.structs.replace(each.entry, path=below))
        if rules:
            digest = hashlib.sha256(
                repr([(e.path, e.mode, e.kind, e.digest, e.link) for e in entries]).encode()
            ).digest()
        found.add(
            name if parents else "",
            entries,
            digest + name.encode() * parents,
            "dir",
            unpack=False,
        )


def _ignored(rules: IgnoreRules, below: str, path: str) -> bool:
    """Patterns of --exclude may speak of the context's paths or of those below the source."""
    return rules.ignores(below) or bool(path and rules.ignores(f"{path}/{below}"))


def from_tree(paths: Sequence[str], layers: Sequence[Digest]) -> Sources:
    """Sources in another stage or image: its layers stand for its content."""
    return Sources(items=[InTree(path) for path in paths], digests=[(*paths, *layers)], layers=layers)


def tree_of(context: Context, path: str) -> Sources:
    """A directory or file of a context by itself: what a mount shows. Raises BuildFailed."""
    found = Sources()
    matches = context.match(path)
    if not matches:
        raise BuildFailed(f'failed to calculate checksum of ref: "/{path.strip("/")}": not found')
    _add_matches(found, _named(matches[:1]), IgnoreRules(()), unpack=False, parents=False)
    return found
