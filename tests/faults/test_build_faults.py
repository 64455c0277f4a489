"""Builds on a full disk, with contexts that break off, and in a crowd: a clear error, and nothing left."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from onggi.build.collecting import Rule
from onggi.build.options import options_from_query
from onggi.engine.engine import Engine
from onggi.errors import Corrupt, NoSpace, OnggiError
from tests.engine.building import build, context, tree
from tests.engine.engines import an_engine, needs_root, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


async def left(engine: Engine) -> list[str]:
    """Files of builds in the data root."""
    await engine.snapshots.close()
    root = engine.options.data_root
    return [f"{kind}/{name}" for kind in ("containers", "ingest") for name in os.listdir(os.path.join(root, kind))]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A place for an engine whose data root has 48 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.row("R-32")
@pytest.mark.row("R-14")
def test_a_full_disk_fails_the_step_and_frees_what_it_took(small_disk: Path) -> None:
    async def main() -> None:
        async with an_engine(small_disk) as engine:
            megabyte = os.urandom(1 << 20)
            # The context fits, its copy doesn't; then a context that doesn't fit itself.
            for size in (12, 60):
                with pytest.raises(NoSpace, match="no space left on device"):
                    await build(engine, "FROM busybox\nCOPY f /f\nCOPY f /g\nCOPY f /h\n", {"f": megabyte * size})
                assert await left(engine) == []
                await engine.builder.prune(Rule(everything=True))
            built = await build(engine, "FROM busybox\nCOPY f /f\n", {"f": megabyte})
            assert len(tree(engine, built.image)) == 1

    asyncio.run(main())


@pytest.mark.row("R-32")
@pytest.mark.row("F-178")
def test_a_context_that_breaks_off_is_no_build(tmp_path: Path) -> None:
    whole = context("FROM busybox\nCOPY f /f\n", {"f": "x" * 100_000})

    async def test(engine: Engine) -> None:
        async def gone() -> AsyncIterator[bytes]:
            yield whole[:50_000]
            raise ConnectionResetError("the client is gone")

        with pytest.raises((OnggiError, ConnectionResetError)):
            await engine.builder.build(gone(), options_from_query({}), lambda _message: None)
        with pytest.raises(Corrupt, match="the archive ends within a file"):
            await build(engine, "", body=whole[:50_000])
        with pytest.raises(OnggiError):
            await build(engine, "", body=b"this is no archive" * 1000)
        assert await left(engine) == []

    with_engine(tmp_path, test)


@pytest.mark.row("R-32")
def test_builds_that_are_cut_off_at_any_moment_leave_nothing(tmp_path: Path) -> None:
    dockerfile = "FROM busybox AS a\nCOPY f /f\nRUN echo 1 > /one\nFROM busybox\nRUN echo 2 > /two\nCOPY --from=a /one /\nWORKDIR /w\n"

    async def test(engine: Engine) -> None:
        for delay in range(12):
            task = asyncio.ensure_future(build(engine, dockerfile, {"f": f"{delay}" * 10_000}, nocache="1"))
            await asyncio.sleep(delay * 0.012)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is None
        assert await left(engine) == []
        assert (await build(engine, dockerfile, {"f": "last"})).image.layers

    with_engine(tmp_path, test)
