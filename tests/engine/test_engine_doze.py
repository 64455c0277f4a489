"""Shims of silent containers sleep, small, and wake for whatever happens. Needs root."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from onggi.engine.streams import AttachOptions
from onggi.runtime import doze
from tests.engine.engines import end_of, frames, logs, needs_root, run, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


def shim_of(engine: Engine, container: str) -> Path:
    status = Path(f"/proc/{engine.containers.get(container).row.pid}/status").read_text()
    found = re.search(r"PPid:\s+(\d+)", status)
    assert found
    return Path(f"/proc/{found[1]}")


def private_kib(process: Path) -> int:
    found = re.search(r"Private_Dirty:\s+(\d+)", (process / "smaps_rollup").read_text())
    assert found
    return int(found[1])


def test_a_silent_containers_shim_has_less_than_700_kib_of_its_own(tmp_path: Path) -> None:
    async def main(engine: Engine) -> None:
        for number in range(3):
            container = await run(engine, "sleep", "600", name=f"silent{number}")
        assert private_kib(shim_of(engine, container)) < 700

    with_engine(tmp_path, main)


def test_a_dozing_shim_wakes_for_output_a_client_and_the_end(tmp_path: Path) -> None:
    async def main(engine: Engine) -> None:
        container = await run(
            engine, "sh", "-c", "sleep 0.5; echo said; read word; echo $word; exit 3", open_stdin=True
        )
        attachment = await engine.streams.attach(engine.containers.get(container), AttachOptions(stdin=True, logs=True))
        loop = asyncio.get_running_loop()
        data = b""
        while b"said" not in data:
            data += await loop.sock_recv(attachment.sock, 4096)
        await loop.sock_sendall(attachment.sock, b"heard\n")
        assert await end_of(engine, container) == 3
        attachment.sock.close()
        assert frames(data) == [(1, b"said\n")]
        assert await logs(engine, container) == "said\nheard\n"

    with_engine(tmp_path, main)


def test_nobody_dozes_where_descriptors_on_their_way_are_counted() -> None:
    """net/unix/garbage.c: not against root of the machine."""
    assert doze.is_allowed()
    asked = "from onggi.runtime import doze; print(doze.is_allowed())"
    found = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "False"
