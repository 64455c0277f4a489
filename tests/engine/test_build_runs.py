"""RUN's mounts, network and rights on a real engine."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from onggi.build.collecting import Rule
from onggi.build.errors import BuildFailed
from onggi.engine import cdi
from onggi.engine.engine import Engine
from tests.engine.building import build, tree
from tests.engine.engines import needs_root, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.mark.row("F-059")
@pytest.mark.row("F-068")
def test_a_bind_mount_shows_a_stage_an_image_or_the_context_and_leaves_nothing(tmp_path: Path) -> None:
    dockerfile = """
FROM busybox AS made
RUN mkdir -p /d/sub && echo deep > /d/sub/f && ln -s d/sub /l
RUN rm /d/sub/f && echo again > /d/sub/g
FROM busybox
RUN --mount=from=made,source=/l,target=/deep/er ls /deep/er > /listed && ! touch /deep/er/x
RUN --mount=target=/ctx,rw cat /ctx/sub/file > /file && touch /ctx/new
RUN --mount=source=sub/file,target=/one cat /one > /one-file
RUN --mount=type=bind,from=busybox,target=/other ls /other/data > /data-listed
RUN test ! -e /ctx -a ! -e /deep -a ! -e /one -a ! -e /other
"""

    async def test(engine: Engine) -> None:
        built = await build(engine, dockerfile, {"sub/file": "content"})
        found = tree(engine, built.image)
        assert found == {
            "listed": "644 0:0 g\n", "file": "644 0:0 content", "one-file": "644 0:0 content", "data-listed": "644 0:0 seed\n",
        }  # fmt: skip
        # Only what is shown counts: /ctx is the whole context, /one a file of it.
        assert (await build(engine, dockerfile, {"sub/file": "content"})).cached == 7
        assert (await build(engine, dockerfile, {"sub/file": "content", "unused": "1"})).cached < 7
        again = await build(engine, dockerfile, {"sub/file": "changed"})
        assert " ---> Using cache\n" in again.said
        assert tree(engine, again.image)["one-file"] == "644 0:0 changed"

    with_engine(tmp_path, test)


@pytest.mark.row("F-060")
@pytest.mark.row("F-061")
@pytest.mark.row("F-156")
def test_a_cache_mount_outlives_its_build_and_counts_for_nothing(tmp_path: Path) -> None:
    step = "FROM busybox\nRUN --mount=type=cache,target=/c{} echo {} >> /c/f; cp /c/f /out\n"

    async def test(engine: Engine) -> None:
        await build(engine, step.format("", "1"))
        second = await build(engine, step.format("", "2"))
        assert tree(engine, second.image) == {"out": "644 0:0 1\n2\n"}
        # Another id is another directory, and the same step: found in the cache.
        assert (await build(engine, step.format(",id=other", "2"))).cached == 1
        third = await build(engine, step.format(",id=other,uid=7,gid=8,mode=0700", "3"))
        assert tree(engine, third.image) == {"out": "644 0:0 3\n"}
        seeded = "FROM busybox\nRUN --mount=type=cache,target=/c,id=s,from=busybox,source=/data cat /c/seed > /out\n"
        assert tree(engine, (await build(engine, seeded)).image) == {"out": "644 0:0 from the image\n"}
        owned = "FROM busybox\nRUN --mount=type=cache,target=/c,id=o,uid=7,gid=8,mode=0710 stat -c %u:%g:%a /c > /out\n"
        assert tree(engine, (await build(engine, owned)).image) == {"out": "644 0:0 7:8:710\n"}

    with_engine(tmp_path, test)


@pytest.mark.row("F-061")
@pytest.mark.row("F-168")
@pytest.mark.row("F-169")
@pytest.mark.row("F-170")
def test_a_cache_mount_is_listed_and_goes_when_it_is_pruned(tmp_path: Path) -> None:
    step = "FROM busybox\nRUN --mount=type=cache,target=/c head -c 100000 /dev/zero > /c/f; echo {}\n"

    async def test(engine: Engine) -> None:
        await build(engine, step.format(1))
        found = [record for record in await engine.builder.records() if record.row.kind == "exec.cachemount"]
        assert [record.row.description for record in found] == ["cached mount //c"]
        assert found[0].row.size >= 100_000
        usage = await engine.system.df(frozenset({"build-cache"}))
        assert "exec.cachemount" in {item["Type"] for item in usage["build-cache"]["Items"]}
        gone, freed = await engine.builder.prune(Rule(kinds=frozenset({"exec.cachemount"})))
        assert len(gone) == 1
        assert freed >= 100_000
        assert "exec.cachemount" not in {record.row.kind for record in await engine.builder.records()}
        assert (await build(engine, step.format(1))).cached == 1

    with_engine(tmp_path, test)


@pytest.mark.row("F-060")
def test_a_locked_cache_mount_has_one_user_at_a_time_and_a_private_one_its_own(tmp_path: Path) -> None:
    step = "FROM busybox\nRUN --mount=type=cache,target=/c,sharing={0} echo {0}{1}; test ! -e /c/in && touch /c/in && sleep 0.5 && rm /c/in\n"

    async def test(engine: Engine) -> None:
        for sharing in ("locked", "private"):
            await asyncio.gather(*(build(engine, step.format(sharing, number)) for number in range(2)))
        both = [build(engine, step.format("shared", number)) for number in range(2)]
        failed = await asyncio.gather(*both, return_exceptions=True)
        assert any(isinstance(each, BuildFailed) for each in failed)

    with_engine(tmp_path, test)


@pytest.mark.row("F-063")
@pytest.mark.row("F-067")
def test_a_tmpfs_mount_has_its_size_and_is_gone(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        dockerfile = (
            "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=64k grep ' /t ' /proc/mounts > /out; touch /t/x\n"
        )
        found = tree(engine, (await build(engine, dockerfile)).image)
        assert list(found) == ["out"]
        assert "tmpfs" in found["out"]
        assert "size=64k" in found["out"]
        with pytest.raises(BuildFailed, match='mode not allowed for "tmpfs" type mounts'):
            await build(engine, "FROM busybox\nRUN --mount=type=tmpfs,target=/t,mode=1 true\n")
        with pytest.raises(BuildFailed, match=r"unexpected key 'sourc' in 'sourc=x' \(did you mean source\?\)"):
            await build(engine, "FROM busybox\nRUN --mount=sourc=x,target=/t true\n")

    with_engine(tmp_path, test)


@pytest.mark.row("F-069")
@pytest.mark.row("F-070")
@pytest.mark.row("F-072")
def test_network_and_rights_of_a_step_are_what_it_and_the_client_agree_on(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        lone = await build(engine, "FROM busybox\nRUN --network=none ls /sys/class/net > /out\n", networkmode="default")
        assert tree(engine, lone.image) == {"out": "644 0:0 lo\n"}
        with pytest.raises(BuildFailed, match=r"network\.host"):
            await build(engine, "FROM busybox\nRUN --network=host true\n")
        with pytest.raises(BuildFailed, match=r"security\.insecure"):
            await build(engine, "FROM busybox\nRUN --security=insecure true\n")
        hosts = await build(
            engine, "FROM busybox\nRUN --network=host readlink /proc/self/ns/net > /out\n", networkmode="host"
        )
        assert tree(engine, hosts.image)["out"].split()[-1] == Path("/proc/self/ns/net").readlink().name
        await build(engine, "FROM busybox\nRUN --security=sandbox true\n")

    with_engine(tmp_path, test)


@pytest.mark.row("F-046")
def test_four_independent_stages_run_at_once(tmp_path: Path) -> None:
    # Each waits until all have begun, which they see in a cache that they share.
    meet = "for i in $(seq 1500); do set -- /met/*; [ $# = 4 ] && echo > /f{0} && exit; usleep 10000; done; exit 1"
    stages = "".join(
        f"FROM busybox AS s{n}\nRUN --mount=type=cache,target=/met echo > /met/{n}; {meet.format(n)}\n"
        for n in range(4)
    )
    copies = "".join(f"COPY --from=s{n} /f{n} /\n" for n in range(4))

    async def test(engine: Engine) -> None:
        built = await build(engine, f"{stages}FROM busybox\n{copies}")
        assert sorted(tree(engine, built.image)) == ["f0", "f1", "f2", "f3"]

    with_engine(tmp_path, test)


@pytest.mark.row("F-158")
def test_the_same_step_of_two_builds_runs_once_and_outlives_the_one_that_is_cancelled(tmp_path: Path) -> None:
    dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c echo ran >> /c/log; sleep 1; cp /c/log /out\n"

    async def test(engine: Engine) -> None:
        first = asyncio.create_task(build(engine, dockerfile))
        second = asyncio.create_task(build(engine, dockerfile))
        await asyncio.sleep(0.5)
        first.cancel()
        built = await second
        assert tree(engine, built.image) == {"out": "644 0:0 ran\n"}
        with pytest.raises(asyncio.CancelledError):
            await first

    with_engine(tmp_path, test)


@pytest.mark.row("F-071")
def test_a_device_is_there_for_the_step_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = {
        "cdiVersion": "0.6.0", "kind": "vendor.com/thing",
        "devices": [{"name": name, "containerEdits": {"env": [f"THING={name}"]}} for name in ("one", "two")],
    }  # fmt: skip
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi" / "thing.json").write_text(json.dumps(described))
    read = cdi.read
    monkeypatch.setattr(cdi, "read", lambda: read([str(tmp_path / "cdi")]))
    step = "FROM busybox\nRUN --device={} echo [$THING] > /out\n"
    words = {"entitlements": '["device"]'}

    async def test(engine: Engine) -> None:
        for name, seen in (("vendor.com/thing=two", "two"), ("vendor.com/thing", "one"), ("other.com/x", "")):
            built = await build(engine, step.format(name), **words)
            assert tree(engine, built.image) == {"out": f"644 0:0 [{seen}]\n"}
        with pytest.raises(BuildFailed, match='required device "other.com/x" is not registered'):
            await build(engine, step.format("other.com/x,required"), **words)
        with pytest.raises(BuildFailed, match="entitlement device is not allowed"):
            await build(engine, step.format("vendor.com/thing=two"))

    with_engine(tmp_path, test)
