"""What a build finds again, what runs side by side, and what is left when one is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest

from onggi.build.collecting import Rule
from onggi.build.errors import BuildFailed
from onggi.engine.engine import Engine
from tests.engine.building import build, context, tree
from tests.engine.engines import an_engine, needs_root, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

DOCKERFILE = "FROM busybox\nENV A=1\nRUN echo $A > /a\nCOPY f d /c/\nWORKDIR /w\nCMD x\n"
SLEEP = 900_000 + os.getpid()
"""Nobody else's: other tests sleep on the same machine."""

FILES = {"f": "1", "d/g": "2"}


@pytest.mark.row("F-153")
@pytest.mark.row("F-154")
def test_an_equal_build_gives_the_same_image_whatever_the_files_times(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        first = await build(engine, DOCKERFILE, FILES)
        again = await build(engine, "", body=context(DOCKERFILE, FILES, mtime=1_600_000_000))
        assert (again.image.id, again.cached) == (first.image.id, 5)
        assert first.cached == 0

    with_engine(tmp_path, test)


@pytest.mark.row("F-154")
@pytest.mark.row("F-038")
@pytest.mark.row("F-159")
def test_what_a_step_reads_decides_whether_it_is_done_again(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        await build(engine, DOCKERFILE, FILES)
        # ENV and RUN are found again; COPY isn't, and CMD follows it.
        assert (await build(engine, DOCKERFILE, {**FILES, "d/g": "other"})).cached == 2
        assert (await build(engine, DOCKERFILE, {**FILES, "d/new": ""})).cached == 2
        assert (await build(engine, DOCKERFILE, {**FILES, "unused": "x"})).cached == 5
        assert (await build(engine, DOCKERFILE, FILES, nocache="1")).cached == 0
        used = "FROM busybox\nARG A=1\nARG B=1\nRUN echo b\n"
        await build(engine, used)
        assert (await build(engine, used, buildargs='{"B":"2"}')).cached == 0

    with_engine(tmp_path, test)


@pytest.mark.row("F-161")
def test_the_cache_outlives_the_engine(tmp_path: Path) -> None:
    async def main() -> None:
        async with an_engine(tmp_path) as engine:
            first = await build(engine, DOCKERFILE, FILES)
        async with an_engine(tmp_path) as engine:
            again = await build(engine, DOCKERFILE, FILES)
            assert (again.image.id, again.cached) == (first.image.id, 5)

    asyncio.run(main())


@pytest.mark.row("F-043")
@pytest.mark.row("F-045")
@pytest.mark.row("F-046")
@pytest.mark.row("F-091")
def test_stages_that_are_needed_run_side_by_side_and_speak_in_order(tmp_path: Path) -> None:
    dockerfile = """
FROM busybox AS left
RUN --mount=type=cache,target=/met echo > /met/left; for i in $(seq 1500); do [ -e /met/right ] && break; usleep 10000; done; [ -e /met/right ] && echo left > /left; mkdir /tree; echo x > /tree/x
FROM busybox AS unused
RUN exit 1
FROM busybox AS right
ENV FROM_RIGHT=1
RUN --mount=type=cache,target=/met echo > /met/right; for i in $(seq 1500); do [ -e /met/left ] && break; usleep 10000; done; [ -e /met/left ] && echo right > /right; chown 7:8 /right
FROM right
COPY --from=left /left /
COPY --from=0 /tree /copied
COPY --from=busybox /data/seed /seed
COPY --from=left /l* /glob/
COPY --from=right /right /kept
COPY --from=right --chown=5 /right /given
"""

    async def test(engine: Engine) -> None:
        built = await build(engine, dockerfile)
        found = tree(engine, built.image)
        assert (found["left"], found["copied/x"], found["seed"]) == (
            "644 0:0 left\n",
            "644 0:0 x\n",
            "644 0:0 from the image\n",
        )
        assert (found["glob/left"], found["kept"], found["given"]) == (
            "644 0:0 left\n",
            "644 7:8 right\n",
            "644 5:5 right\n",
        )
        assert "FROM_RIGHT=1" in (built.image.config.run.env or [])
        assert [line.partition(" : ")[2] for line in built.steps][:5] == [
            "FROM busybox AS left", "RUN --mount=type=cache,target=/met echo > /met/left; for i in $(seq 1500); do [ -e /met/right ] && break; usleep 10000; done; [ -e /met/right ] && echo left > /left; mkdir /tree; echo x > /tree/x",
            "FROM busybox AS right", "ENV FROM_RIGHT=1", "RUN --mount=type=cache,target=/met echo > /met/right; for i in $(seq 1500); do [ -e /met/left ] && break; usleep 10000; done; [ -e /met/left ] && echo right > /right; chown 7:8 /right",
        ]  # fmt: skip
        assert built.steps[0].startswith("Step 1/12 ")
        assert built.steps[-1].startswith("Step 12/12 ")
        assert (await build(engine, dockerfile, target="left")).image.config.history

    with_engine(tmp_path, test)


def test_a_stage_that_fails_ends_the_others_and_is_heard(tmp_path: Path) -> None:
    dockerfile = """
FROM busybox AS slow
RUN sleep 30
FROM busybox AS broken
RUN echo this is why; exit 4
FROM slow
COPY --from=broken /x /x
"""

    async def test(engine: Engine) -> None:
        said: list[str] = []
        with pytest.raises(BuildFailed, match="returned a non-zero code: 4"):
            await build(engine, dockerfile, said=said)
        assert "this is why\n" in "".join(said)

    with_engine(tmp_path, test)


@pytest.mark.row("F-094")
def test_a_linked_layer_is_used_over_any_base(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        first = await build(engine, "FROM busybox\nCOPY --link f /x/f\n", FILES)
        other = await build(engine, "FROM busybox\nRUN echo 1 > /one\nCOPY --link f /x/f\n", FILES)
        assert first.image.layers[-1] == other.image.layers[-1]
        assert other.cached == 1

    with_engine(tmp_path, test)


@pytest.mark.row("F-166")
@pytest.mark.row("F-230")
def test_an_image_lends_its_steps_to_a_build_that_names_it(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        first = await build(engine, DOCKERFILE, FILES, t="earlier")
        keys, _ = await engine.builder.prune(Rule(everything=True))
        assert len(keys) == 3
        again = await build(engine, DOCKERFILE, FILES, cachefrom='["earlier","not-here"]')
        assert again.image.layers == first.image.layers

    with_engine(tmp_path, test)


@pytest.mark.row("E-028")
def test_pruning_frees_layers_that_no_image_has(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        built = await build(engine, "FROM busybox\nCOPY f /f\n", {"f": "x" * 100_000}, t="one")
        layer = built.image.layers[-1]
        assert (await engine.builder.prune(Rule()))[0] == []
        await engine.images.remove("one", force=True, prune=True, users=lambda _id: [])
        assert engine.layers.has(layer)
        assert (await build(engine, "FROM busybox\nCOPY f /f\n", {"f": "x" * 100_000}, t="one")).cached == 1
        await engine.images.remove("one", force=True, prune=True, users=lambda _id: [])
        keys, size = await engine.builder.prune(Rule())
        assert (len(keys), size) == (1, 100_000)
        assert not engine.layers.has(layer)
        assert await engine.builder.records() == []

    with_engine(tmp_path, test)


@pytest.mark.row("R-32")
@pytest.mark.row("F-079")
@pytest.mark.row("E-110")
def test_a_cancelled_build_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        said: list[str] = []
        work = build(
            engine,
            f"FROM busybox\nRUN echo kept > /k\nRUN echo go; sleep {SLEEP}\n",
            said=said,
            buildid="mine",
            t="never",
        )
        task = asyncio.ensure_future(work)
        async with asyncio.timeout(20):
            while "go\n" not in "".join(said):
                await asyncio.sleep(0.01)
        engine.builder.cancel("mine")
        engine.builder.cancel("not-known")
        with pytest.raises(BuildFailed, match="context canceled"):
            await task
        await engine.snapshots.close()
        root = engine.options.data_root
        assert os.listdir(os.path.join(root, "containers")) == []
        assert os.listdir(os.path.join(root, "ingest")) == []
        assert not _sleeping()
        assert (await build(engine, "FROM busybox\nRUN echo kept > /k\n")).cached == 1

    with_engine(tmp_path, test)


def _sleeping() -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{name}/cmdline").read_bytes() if name.isdigit() else b""
            if command == f"sleep\0{SLEEP}\0".encode():
                found.append(name)
    return found


def test_equal_builds_at_once_both_get_their_image(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        built = await asyncio.gather(*(build(engine, DOCKERFILE, FILES, t=f"n{n}") for n in range(4)))
        for n, each in enumerate(built):
            assert engine.images.resolve(f"n{n}").id == each.image.id

    with_engine(tmp_path, test)


@pytest.mark.row("F-157")
def test_a_copy_from_a_stage_is_found_again_when_the_stage_made_the_same_files(tmp_path: Path) -> None:
    dockerfile = """
FROM busybox AS made
COPY seed /seed
RUN mkdir /o; echo same > /o/f; sleep 0.01
FROM busybox
COPY --from=made /o /o
RUN echo after
"""

    async def test(engine: Engine) -> None:
        first = await build(engine, dockerfile, {"seed": "1"})
        again = await build(engine, dockerfile, {"seed": "2"})
        assert again.cached == 2
        assert again.image.layers == first.image.layers
        other = await build(engine, dockerfile.replace("same", "other"), {"seed": "2"})
        assert other.cached == 1

    with_engine(tmp_path, test)


@pytest.mark.row("F-167")
def test_steps_that_nobody_asks_for_any_more_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with an_engine(tmp_path) as engine:
            built = await build(engine, "FROM busybox\nCOPY f /old\n", FILES, t="old")
            await engine.images.remove("old", force=True, prune=True, users=lambda _id: [])
        now = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: now() + 61 * 24 * 3600 * 10**9)
        async with an_engine(tmp_path) as engine:
            await build(engine, "FROM busybox\nCOPY f /new\n", FILES)
            assert not engine.layers.has(built.image.layers[-1])

    asyncio.run(main())
