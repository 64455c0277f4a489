"""An engine whose database is damaged or gone: it says so, and what people have is still there. Needs root."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from onggi.errors import Corrupt
from onggi.runtime.client import boot_id
from tests.engine.engines import add_image, an_engine, body, needs_root, options

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


async def _two_containers(root: Path) -> list[str]:
    """Ids of two containers with a file each, of an engine that has gone."""
    engine = await Engine.open(options(root))
    await add_image(engine)
    made = [(await engine.containers.create(name, body("true"))).id for name in ("broken", "whole")]
    for container in made:
        Path(engine.snapshots.directory(container), "upper", "precious").write_text(container)
    await engine.close()
    return made


@pytest.mark.row("R-08")
def test_a_row_that_cannot_be_read_costs_neither_the_others_nor_its_own_files(tmp_path: Path) -> None:
    async def main() -> None:
        broken, whole = await _two_containers(tmp_path)
        with sqlite3.connect(tmp_path / "data" / "state.db") as raw:
            assert raw.execute("UPDATE containers SET value = '{\"id\": 1}' WHERE key = ?", (broken,)).rowcount == 1
        raw.close()
        async with an_engine(tmp_path) as engine:
            assert [container.id for container in engine.containers] == [whole]
            assert any(broken[:12] in warning for warning in engine.warnings)
            precious = Path(engine.snapshots.directory(broken), "upper", "precious")
            assert precious.read_text() == broken
            engine.snapshots.remove(broken)

    asyncio.run(main())


@pytest.mark.row("K-22")
def test_a_database_that_is_gone_is_no_empty_start(tmp_path: Path) -> None:
    async def main() -> None:
        made = await _two_containers(tmp_path)
        data = tmp_path / "data"
        (data / "state.db").rename(tmp_path / "kept")
        with pytest.raises(Corrupt, match=r"state\.db is gone"):
            await Engine.open(options(tmp_path))
        for container in made:
            assert (data / "containers" / container / "upper" / "precious").exists()
        (tmp_path / "kept").rename(data / "state.db")
        async with an_engine(tmp_path) as engine:
            assert len(engine.containers) == 2

    asyncio.run(main())


@pytest.mark.row("R-12")
def test_after_the_machine_went_down_all_layers_are_read(tmp_path: Path) -> None:
    async def main() -> None:
        mark = tmp_path / "data" / "running"
        async with an_engine(tmp_path) as engine:
            await add_image(engine)
            assert mark.read_text().strip() == boot_id()
            [layer] = list(engine.layers.walk())
            file = Path(engine.layers.path(layer), "bin/busybox")
        assert not mark.exists()
        with file.open("r+b") as opened:
            opened.write(b"not")
        async with an_engine(tmp_path) as engine:
            await asyncio.sleep(0.2)
            assert engine.warnings == []
        mark.write_text("00000000-0000-0000-0000-000000000000")
        async with an_engine(tmp_path) as engine:
            for _ in range(100):
                if file.exists() and file.read_bytes()[1:4] == b"ELF":
                    break
                await asyncio.sleep(0.05)
            assert file.read_bytes()[:4] == b"\x7fELF"
            assert await engine.layers.verify(layer)
            assert engine.warnings == []

    asyncio.run(main())
