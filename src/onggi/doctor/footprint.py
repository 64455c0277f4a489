"""The traces of one engine on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onggi.kernel import nftables


def engine_tag(data_root: Path) -> str:
    """Eight hex digits that stand in the name of all that the engine of `data_root` makes."""
    return hashlib.sha256(os.path.realpath(data_root).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Engine:
    """Where an engine keeps its things; `bridges` are those that it was told to use by name."""

    data_root: Path
    exec_root: Path
    bridges: frozenset[str] = field(default=frozenset())

    @property
    def tag(self) -> str:
        return engine_tag(self.data_root)


@dataclass(frozen=True, slots=True, order=True)
class Trace:
    """One thing on the machine: `kind` is mount, link, table, cgroup, process, namespace, file or container."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def footprint(engine: Engine) -> set[Trace]:
    """All that belongs to `engine` now, its own processes and its files included.

    A caller compares two footprints, or one with what must be there. Needs root. What vanishes while it is read is
    gone: no error.
    """
    traces = set(_links(engine)) | set(_tables(engine)) | set(_cgroups(engine)) | set(_files(engine))
    processes = _processes(engine)
    return traces | {Trace("process", text) for text in processes.values()} | set(_mounts(engine))


def _links(engine: Engine) -> Iterator[Trace]:
    for name in os.listdir("/sys/class/net"):
        alias = _read(f"/sys/class/net/{name}/ifalias").strip()
        if name in engine.bridges or name.startswith(f"og{engine.tag[:3]}") or alias == f"onggi-{engine.tag}":
            yield Trace("link", name)


def _tables(engine: Engine) -> Iterator[Trace]:
    for family, name in nftables.tables():
        if name == f"onggi-{engine.tag}":
            yield Trace("table", f"{family} {name}")


def _cgroups(engine: Engine) -> Iterator[Trace]:
    """The engine's directory in each hierarchy; below it, one directory a container."""
    for root in _cgroup_roots():
        # os.walk: directories of other programs go while we look, which is no error here.
        for path, _, _ in os.walk(root):
            if f"/onggi-{engine.tag}/" in f"{path}/":
                yield Trace("cgroup", path)


def _cgroup_roots() -> Iterable[str]:
    for line in _read("/proc/self/mountinfo").splitlines():
        fields, _, tail = line.partition(" - ")
        if tail.split()[0] in {"cgroup", "cgroup2"}:
            yield fields.split()[4]


def _processes(engine: Engine) -> dict[int, str]:
    """Processes in the engine's cgroups, and those whose command line names its roots (engine, launcher, shims)."""
    roots = {os.fsencode(os.path.realpath(p)) for p in (engine.data_root, engine.exec_root)}
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        in_cgroup = f"/onggi-{engine.tag}" in _read(f"/proc/{entry}/cgroup")
        words = _read_bytes(f"/proc/{entry}/cmdline").split(b"\0")
        if in_cgroup or any(
            _is_under(word.rpartition(b"=")[2], roots) for word in words if word.startswith((b"/", b"--"))
        ):
            state = _read(f"/proc/{entry}/stat").rpartition(")")[2].split()
            if state and not (state[0] == "Z" and not in_cgroup):
                found[int(entry)] = f"{entry} {b' '.join(words).decode(errors='replace').strip()}"
    return found


def _is_under(word: bytes, roots: set[bytes]) -> bool:
    return any(word == root or word.startswith(root + b"/") for root in roots)


def _mounts(engine: Engine) -> Iterator[Trace]:
    """Mount points below the roots, or overlays made from them, in every mount namespace of the machine.

    A container's own namespace shows its overlay: that is the container's, and goes with its last process.
    """
    roots = {os.fsencode(os.path.realpath(p)) for p in (engine.data_root, engine.exec_root)}
    for namespace, pid in _mount_namespaces().items():
        for line in _read_bytes(f"/proc/{pid}/mountinfo").splitlines():
            words = line.split(b" ")
            if len(words) > 4 and (_is_under(words[4], roots) or any(b"upperdir=" + root in line for root in roots)):
                yield Trace("mount", f"{words[4].decode(errors='replace')} in {namespace} (process {pid})")


def _mount_namespaces() -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found.setdefault(os.readlink(f"/proc/{entry}/ns/mnt"), entry)
            except OSError:
                continue
    return found


def _files(engine: Engine) -> Iterator[Trace]:
    """Things that belong to a container or to work under way; blobs and layers are explained by images."""
    for pattern in ("containers/*", "ingest/*", "volumes/*/_data", "removed/*"):
        for path in engine.data_root.glob(pattern):
            yield Trace("file", str(path))
    for path in engine.exec_root.glob("**/shims/*"):
        yield Trace("container", str(path))


def _read(path: str) -> str:
    return _read_bytes(path).decode(errors="replace")


def _read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
