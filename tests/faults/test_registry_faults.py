"""onggi-registry killed, and on a disk that fails: what it has said yes to is there, what it hasn't is not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.imaging import digest, make_image, put_manifest, upload


@contextmanager
def running(root: Path, fault: str = ""):
    """The program itself, on a free port; gives the process and the port."""
    environment = {**os.environ, "ONGGI_FAULT": fault}
    code = (
        "import asyncio, sys\n"
        "from onggi.registry import Registry\n"
        "async def main():\n"
        "    print(await Registry(sys.argv[1]).listen('127.0.0.1', 0), flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        assert process.stdout
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.row("R-34")
def test_what_was_answered_with_201_survives_a_kill(tmp_path):
    image = make_image({"a": b"1"}, {"b": b"2"})

    async def push(port: int, step: int) -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            if step < len(image.blobs):
                await upload(session, "app", image.blobs[step])
            else:
                assert await put_manifest(session, "app", "v1", image.manifest) == 201

    async def check(port: int) -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            for blob in image.blobs:
                async with session.get(f"/v2/app/blobs/{digest(blob)}") as answer:
                    assert await answer.read() == blob
            async with session.get("/v2/app/manifests/v1") as answer:
                assert await answer.read() == image.manifest

    for step in range(len(image.blobs) + 1):
        with running(tmp_path) as (process, port):
            asyncio.run(push(port, step))
            process.kill()
    with running(tmp_path) as (_, port):
        asyncio.run(check(port))


@pytest.mark.row("R-34")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_disk_that_fails_to_sync_gets_no_201(tmp_path, number):
    data = b"x" * 1000

    async def push(port: int) -> int:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
            session.post(f"/v2/app/blobs/uploads/?digest={digest(data)}", data=data) as answer,
        ):
            return answer.status

    async def ask(port: int) -> int:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
            session.get(f"/v2/app/blobs/{digest(data)}") as answer,
        ):
            return answer.status

    with running(tmp_path, f"store.sync=EIO@{number}") as (_, port):
        assert asyncio.run(push(port)) in (500, 503)
        # Nothing more is promised: the pages that couldn't be written are lost, and the next sync would say all is well.
        assert asyncio.run(push(port)) == 503
        assert asyncio.run(ask(port)) == 404
