"""--storage-opt size and volumes with a size, on the virtual machine's root: ext4 with project quotas (the kernels of other machines may have none)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from onggi.kernel import projectquota
from onggi.kernel.fds import Fd
from onggi.kernel.userns import IdMaps, IdRange
from tests.engine.engines import document, execute, output, run, with_engine

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif("GUEST_SCALE" not in os.environ, reason="needs project quotas: make test-v2"),
]
MAPS = IdMaps((IdRange(0, 200000, 65536),), (IdRange(0, 200000, 65536),))


@pytest.fixture
def disk() -> Iterator[Path]:
    """Of the root file system: /tmp may be a tmpfs."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        yield Path(place)


@pytest.mark.row("B-26", "P-119")
@pytest.mark.parametrize("maps", [None, MAPS])
def test_a_container_writes_as_much_as_it_may_and_no_more(disk: Path, maps: IdMaps | None) -> None:
    async def test(engine: Engine) -> None:
        host = {"storage_opt": {"size": "8m"}}
        container = await run(engine, "sleep", "1000", host=host)
        fill = "dd if=/dev/zero of=/full bs=1M count=20 2>&1; stat -c %s /full; df -m / | tail -1"
        code, text = await execute(engine, container, "sh", "-c", fill)
        assert code == 0
        assert "No space left on device" in text or "quota exceeded" in text.lower(), text
        written = int(next(line for line in text.splitlines() if line.isdigit()))
        assert 6 << 20 <= written <= 8 << 20
        assert " 8 " in text.splitlines()[-1], "df shows the limit as the file system's size"
        # What is free again can be used, a rename from overlayfs' work directory is no border, and others don't notice.
        again = "rm /full; echo x >> /etc/passwd; dd if=/dev/zero of=/half bs=1M count=4 2>/dev/null; stat -c %s /half"
        assert (await execute(engine, container, "sh", "-c", again))[1] == f"{4 << 20}\n"
        assert (
            await output(engine, "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=12 2>/dev/null; stat -c %s /big")
            == f"{12 << 20}\n"
        )
        assert document(engine, container)["HostConfig"]["StorageOpt"] == {"size": "8m"}
        # A restart goes on with what is written, and a removal leaves no limit behind.
        await engine.containers.restart(container, timeout=0)
        assert (await execute(engine, container, "stat", "-c", "%s", "/half"))[1] == f"{4 << 20}\n"
        upper = Path(engine.snapshots.directory(container)) / "upper"
        with Fd(os.open(upper, os.O_RDONLY)) as fd:
            project = projectquota.project_of(fd)
        assert project >= 1 << 20
        await engine.containers.remove(container, force=True)
        with Fd(os.open(disk, os.O_RDONLY)) as fd:
            assert projectquota.limit_of(fd, project) == 0

    with_engine(disk, test, id_maps=maps)


@pytest.mark.row("B-26", "P-093")
def test_a_volume_has_room_for_as_much_as_it_was_made_for(disk: Path) -> None:
    async def test(engine: Engine) -> None:
        volume = await engine.volumes.create("small", options={"size": "6m"})
        fill = "dd if=/dev/zero of=/v/full bs=1M count=20 2>/dev/null; stat -c %s /v/full; cat /v/word"
        # The first container's image has files there: they are copied, and count.
        image = await run(engine, "sh", "-c", "echo in > /v/word; sleep 1000", host={"binds": ["small:/v"]})
        text = (await execute(engine, image, "sh", "-c", f"until [ -e /v/word ]; do usleep 10000; done; {fill}"))[1]
        size, word = text.split()
        assert (4 << 20 <= int(size) <= 6 << 20, word) == (True, "in")
        assert volume.options == {"size": "6m"}
        await engine.containers.remove(image, force=True)
        again = await output(
            engine,
            "sh",
            "-c",
            "rm /v/full; dd if=/dev/zero of=/v/full bs=1M count=20 2>/dev/null; stat -c %s /v/full",
            host={"binds": ["small:/v"]},
        )
        assert 4 << 20 <= int(again) <= 6 << 20
        for one in list(engine.containers):
            await engine.containers.remove(one.id, force=True)
        with Fd(os.open(engine.volumes.mountpoint("small"), os.O_RDONLY)) as fd:
            project = projectquota.project_of(fd)
        await engine.volumes.remove("small")
        with Fd(os.open(disk, os.O_RDONLY)) as fd:
            assert (project >= 1 << 20, projectquota.limit_of(fd, project)) == (True, 0)

    with_engine(disk, test)
