"""An engine whose disk is full: what runs runs on, removing works and makes room, then all works again. Needs root."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from onggi.errors import NoSpace
from onggi.kernel import mounts
from tests.engine.engines import add_image, an_engine, body, end_of, needs_root, run

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


@pytest.mark.row("R-14")
@pytest.mark.row("K-30")
def test_removing_works_on_a_full_disk_and_everything_does_afterwards(tmp_path: Path) -> None:
    async def main(disk: Path) -> None:
        async with an_engine(disk) as engine:
            running = await run(engine, "sleep", "600", name="running")
            ended = await run(engine, "true", name="ended")
            await end_of(engine, ended)
            await engine.volumes.create("unused")
            await add_image(engine, "spare:1")
            _fill(disk / "data" / "filler")
            refused = 0
            for number in range(400):
                try:
                    await engine.containers.create(f"new{number}", body("true"))
                except NoSpace:
                    refused += 1
                    break
            assert refused == 1
            assert engine.containers.get(running).is_alive
            made = [container.id for container in engine.containers if container.id not in (running, ended)]
            for container in [ended, *made]:
                await engine.containers.remove(container, force=False, volumes=False)
            await engine.volumes.remove("unused")
            await engine.volumes.prune(all=True)
            await engine.containers.remove(running, force=True, volumes=False)
            (disk / "data" / "filler").unlink()
            again = await run(engine, "true", name="again")
            assert await end_of(engine, again) == 0

    disk = tmp_path / "disk"
    disk.mkdir()
    mounts.mount("tmpfs", str(disk), "tmpfs", mounts.MountFlag.NONE, "size=160m")
    try:
        asyncio.run(main(disk))
    finally:
        mounts.umount2(str(disk))
