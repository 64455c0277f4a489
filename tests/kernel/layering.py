"""Tars made entry by entry, and a store to unpack them into and look at what a container of them sees."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from onggi.store.content import Content
from onggi.store.layers import LayerInfo, Layers
from onggi.store.snapshots import Snapshots
from onggi.store.workers import Workers


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_600_000_000
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def folder(name: str, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.DIRTYPE, **fields)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind, linkname=target)


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.workers = Workers()
        self.content = Content(root)
        self.layers = Layers(root, self.content, self.workers)
        self.snapshots = Snapshots(root, self.layers, self.workers)

    async def apply(self, archive: bytes, **options: object) -> LayerInfo:
        async def pieces():
            yield archive

        return await self.layers.apply(pieces(), **options)

    def tree(self, *layers: LayerInfo) -> dict[str, str]:
        """What a container of these layers sees, without the stubs: path → content, or a word on what it is."""
        snapshot = self.snapshots.prepare("c" * 64, [layer.diff_id for layer in layers])
        found = {}
        with self.snapshots.mounted(snapshot) as root:
            for path, _, files, fd in os.fwalk(".", dir_fd=root.fileno()):
                for name in files:
                    at = os.path.normpath(f"{path}/{name}")
                    status = os.lstat(name, dir_fd=fd)
                    if stat.S_ISLNK(status.st_mode):
                        found[at] = "-> " + os.readlink(name, dir_fd=fd)
                    elif stat.S_ISREG(status.st_mode):
                        found[at] = Path(f"/proc/self/fd/{fd}/{name}").read_text()
                    else:
                        found[at] = f"mode {status.st_mode:o}"
        self.snapshots.remove("c" * 64)
        return {
            path: text
            for path, text in found.items()
            if path.split("/")[0] not in {"dev", ".dockerenv", "etc", "proc", "sys"}
        }


def with_store(root: Path, scenario: Callable[[Store], Awaitable[None]]) -> None:
    """Runs it with a store below `root`; nothing half-made is left."""

    async def main() -> None:
        store = Store(root / "root")
        try:
            await scenario(store)
        finally:
            await store.snapshots.close()
            await store.workers.close()
        assert os.listdir(root / "root" / "ingest") == []

    os.makedirs(root / "root")
    asyncio.run(main())
