"""State that an older engine wrote, read by this one: a recording of its rows, made on 24 November 2026."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from tests.engine.engines import add_image, an_engine, document, end_of, execute, needs_root, options

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

RECORDED = Path(__file__).parent / "data" / "state-2026-11-24.json"


def put_rows(root: Path, image: str, layer: str) -> None:
    """The recording's rows, as if they had been written here."""
    text = RECORDED.read_text().replace("@IMAGE@", image).replace("@LAYER@", layer).replace("@ROOT@", str(root))
    with sqlite3.connect(root / "data" / "state.db") as database:
        for table, rows in json.loads(text).items():
            for row in rows:
                key = row.get("id") or row["name"]
                database.execute(f'INSERT INTO "{table}" VALUES (?, ?)', (key, json.dumps(row).encode()))
    database.close()


@pytest.mark.row("K-70", "R-09", "R-10")
def test_containers_of_an_older_engine_are_known_and_start(tmp_path: Path) -> None:
    async def main() -> None:
        engine = await Engine.open(options(tmp_path))
        await add_image(engine)
        image = engine.images.resolve("busybox")
        await engine.close()
        put_rows(tmp_path, str(image.id), str(image.layers[0]))
        async with an_engine(tmp_path) as engine, asyncio.timeout(30):
            states = {one.name: document(engine, one.id)["State"]["Status"] for one in engine.containers}
            # What ran has ended with the machine it was recorded on.
            assert states == {"db": "exited", "web": "created", "peer": "created", "ended": "exited"}
            assert document(engine, "db")["State"]["ExitCode"] == 255
            assert document(engine, "ended")["State"]["ExitCode"] == 3
            web = document(engine, "web")
            assert web["HostConfig"]["Links"] == ["/db:/web/base"]
            assert web["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
            assert web["Config"]["Labels"] == {"a": "b"}
            assert {point["Destination"] for point in web["Mounts"]} == {"/v", "/t", "/b", "/data"}
            for name in ("db", "web", "peer", "ended"):
                await engine.containers.start(name)
            assert await execute(engine, "db", "echo", "here") == (0, "here\n")
            assert await end_of(engine, "peer") == 0
            assert await end_of(engine, "ended") == 3

    asyncio.run(main())
