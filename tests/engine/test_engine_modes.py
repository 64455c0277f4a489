"""What a container shares and mounts, looked at from inside: namespaces of others, images, parts of volumes, named devices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onggi.engine import cdi, propagation
from onggi.engine.config import (
    BindOptions,
    ContainerConfig,
    DeviceRequest,
    Extensions,
    ImageOptions,
    Mount,
    MountPoint,
    UpdateBody,
    VolumeOptions,
)
from onggi.engine.engine import Engine
from onggi.errors import Conflict, InvalidArgument, NotFound, RuntimeStepError
from tests.engine.engines import body, document, end_of, execute, logs, needs_root, output, run, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.mark.row("E-221")
def test_memory_that_is_shared_by_name_is_shared_with_who_joins_the_ipc_namespace(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        donor = await run(engine, "sh", "-c", "echo here > /dev/shm/word; sleep 100", host={"ipc_mode": "shareable"})
        async with asyncio.timeout(30):
            while (await execute(engine, donor, "test", "-s", "/dev/shm/word"))[0]:
                await asyncio.sleep(0.02)
        assert await output(engine, "cat", "/dev/shm/word", host={"ipc_mode": f"container:{donor}"}) == "here\n"
        await output(engine, "sh", "-c", "echo back > /dev/shm/word2", host={"ipc_mode": f"container:{donor}"})
        assert await execute(engine, donor, "cat", "/dev/shm/word2") == (0, "back\n")
        alone = await run(engine, "sleep", "100")
        made = await engine.containers.create("", body("true", host={"ipc_mode": f"container:{alone}"}))
        with pytest.raises(InvalidArgument, match="non-shareable IPC"):
            await engine.containers.start(made.id)

    with_engine(tmp_path, test)


@pytest.mark.row("E-221")
@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("ipc_mode", "failed to join IPC namespace: container .* is not running"),
        ("pid_mode", "failed to join PID namespace: container .* is not running"),
        ("network_mode", "cannot join network namespace of a non running container: container still is created"),
    ],
)
def test_a_namespace_of_a_container_that_does_not_run_cannot_be_joined(tmp_path: Path, field: str, text: str) -> None:
    async def test(engine: Engine) -> None:
        await engine.containers.create("still", body("true"))
        made = await engine.containers.create("", body("true", host={field: "container:still"}))
        with pytest.raises(Conflict, match=text):
            await engine.containers.start(made.id)

    with_engine(tmp_path, test)


@pytest.mark.row("E-218")
def test_an_image_is_mounted_read_only_whole_or_in_part(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        whole = {"mounts": [Mount("image", "busybox", "/tools")]}
        assert await output(engine, "cat", "/tools/data/seed", host=whole) == "from the image\n"
        part = {"mounts": [Mount("image", "busybox", "/seed", image_options=ImageOptions("data"))]}
        assert await output(engine, "sh", "-c", "cat /seed/seed; touch /seed/x 2>&1 || true", host=part) == (
            "from the image\ntouch: /seed/x: Read-only file system\n"
        )
        two_layers = await _committed(engine)
        many = {"mounts": [Mount("image", two_layers, "/tools")]}
        assert await output(engine, "cat", "/tools/data/seed", "/tools/added", host=many) == "from the image\nmore\n"
        with pytest.raises(NotFound, match="No such image: nope"):
            await engine.containers.create("", body("true", host={"mounts": [Mount("image", "nope", "/x")]}))

    with_engine(tmp_path, test)


async def _committed(engine: Engine) -> str:
    container = await run(engine, "sh", "-c", "echo more > /added")
    await end_of(engine, container)
    return await engine.copies.commit(container, name=None, config=None, changes=[], author="", comment="", pause=False)


@pytest.mark.row("E-043")
def test_a_commit_keeps_of_the_containers_config_what_the_given_one_leaves_open(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sh", "-c", "true", env=["A=1", "B=2"], labels={"l": "m"}, user="user")
        await end_of(engine, container)
        for config, changes, env in (
            (ContainerConfig(), [], {"A=1", "B=2"}),
            (ContainerConfig(env=["B=own"]), ["ENV C=3"], {"A=1", "B=own", "C=3"}),
        ):
            image = await engine.copies.commit(
                container, name=None, config=config, changes=changes, author="", comment="", pause=False
            )
            kept = engine.images.resolve(image).config.run
            assert env <= set(kept.env or ())
            assert (kept.cmd, kept.labels, kept.user) == (["sh", "-c", "true"], {"l": "m"}, "user")

    with_engine(tmp_path, test)


@pytest.mark.row("E-218", "S-05")
def test_a_part_of_a_volume_is_mounted_and_no_link_leads_out_of_it(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        script = "mkdir -p /v/a/b; echo in > /v/a/b/word; ln -s /etc /v/out; ln -s ../../../../etc /v/up; ln -s a /v/in"
        await output(engine, "sh", "-c", script, host={"binds": ["vol:/v"]})

        def part(path: str) -> dict[str, object]:
            return {"mounts": [Mount("volume", "vol", "/x", volume_options=VolumeOptions(subpath=path))]}

        assert await output(engine, "cat", "/x/word", host=part("a/b")) == "in\n"
        assert await output(engine, "cat", "/x/b/word", host=part("in")) == "in\n"
        for path in ("out", "up", "nothing"):
            made = await engine.containers.create("", body("true", host=part(path)))
            with pytest.raises(RuntimeStepError, match=rf"^cannot access path /.*/{path}: lstat ") as refused:
                await engine.containers.start(made.id)
            assert refused.value.status == 404

    with_engine(tmp_path, test)


@pytest.mark.row("E-217")
def test_a_bind_that_could_not_propagate_is_refused(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    point = MountPoint("bind", str(private), "/x", propagation="shared")
    tags = propagation._mounts()
    at = max((path for path in tags if str(private).startswith(path.rstrip("/") + "/") or path == "/"), key=len)
    if "shared" in tags[at]:
        propagation.check([point])
    else:
        with pytest.raises(InvalidArgument, match=rf"path {private} is mounted on {at} but it is not a shared mount"):
            propagation.check([point])
    propagation.check([MountPoint("bind", str(private), "/x", propagation="rprivate")])


@pytest.mark.row("E-217")
def test_read_only_binds_are_so_all_the_way_down_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        source = tmp_path / "source"
        source.mkdir()
        for options, answer in ((BindOptions(), "ro"), (BindOptions(read_only_non_recursive=True), "ro")):
            mounts = [Mount("bind", str(source), "/x", read_only=True, bind_options=options)]
            text = await output(engine, "sh", "-c", "grep ' /x ' /proc/self/mounts", host={"mounts": mounts})
            assert answer in text.split()[3].split(",")

    with_engine(tmp_path, test)


@pytest.mark.row("E-214", "E-303")
def test_a_device_with_a_name_brings_its_node_its_environment_and_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cdi"
    folder.mkdir()
    (tmp_path / "lib").write_text("driver\n")
    (folder / "vendor.json").write_text(
        json.dumps(
            {
                "cdiVersion": "0.6.0",
                "kind": "vendor.example/thing",
                "devices": [
                    {"name": "one", "containerEdits": {"deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/null"}], "env": ["THING=1"]}}
                ],
                "containerEdits": {"mounts": [{"hostPath": str(tmp_path / "lib"), "containerPath": "/lib/thing"}]},
            }
        )
    )  # fmt: skip
    (folder / "other.yaml").write_text("kind: x/y\ndevices: &all\n")
    (folder / "gpu.yaml").write_text(
        "cdiVersion: 0.5.0\nkind: vendor.example/gpu\ndevices:\n- name: '0'\n  containerEdits:\n    env:\n    - GPU=first\n"
    )
    monkeypatch.setattr(cdi.read, "__defaults__", ((str(folder),),))

    async def test(engine: Engine) -> None:
        request = [DeviceRequest("cdi", device_ids=["vendor.example/thing=one"])]
        text = await output(
            engine, "sh", "-c", "echo $THING; cat /lib/thing; echo x > /dev/thing && ls -l /dev/thing | cut -c1", host={"device_requests": request}
        )  # fmt: skip
        assert text == "1\ndriver\nc\n"
        request = [DeviceRequest("cdi", device_ids=["vendor.example/gpu=0"])]
        assert await output(engine, "sh", "-c", "echo $GPU", host={"device_requests": request}) == "first\n"
        for wanted, answer in (
            (DeviceRequest("cdi", device_ids=["x/y=z"]), "CDI device injection failed: unresolvable CDI devices x/y=z .*line 2: an anchor is not read"),
            (DeviceRequest("cdi", count=1), "unexpected count in CDI device request"),
            (DeviceRequest("cdi", device_ids=["a/b=c"], options={"x": "y"}), "unexpected options in CDI device request"),
            (DeviceRequest("", -1, capabilities=[["gpu"]]), r'could not select device driver "" with capabilities: \[\[gpu\]\]'),
        ):  # fmt: skip
            made = await engine.containers.create("", body("true", host={"device_requests": [wanted]}))
            with pytest.raises(InvalidArgument, match=answer):
                await engine.containers.start(made.id)
        assert (await engine.system.info())["DiscoveredDevices"] == [
            {"Source": "cdi", "ID": "vendor.example/gpu=0"},
            {"Source": "cdi", "ID": "vendor.example/thing=one"},
        ]

    with_engine(tmp_path, test)


@pytest.mark.row("E-219")
def test_a_link_to_a_container_that_does_not_run_fails_the_start(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        await engine.containers.create("db", body("sleep", "100", host={"network_mode": "bridge"}))
        made = await engine.containers.create(
            "web", body("cat", "/etc/hosts", host={"network_mode": "bridge", "links": ["db:base"]})
        )
        with pytest.raises(Conflict, match="Cannot link to a non running container: /db AS /web/base"):
            await engine.containers.start(made.id)
        await engine.containers.start("db")
        await engine.containers.start(made.id)
        await end_of(engine, made.id)
        address = next(iter(engine.containers.get("db").row.endpoints.values())).ip_address
        assert f"{address}\tbase " in await logs(engine, made.id)

    with_engine(tmp_path, test)


UPDATES = [
    ({"memory": 64 << 20}, {"memory": 256 << 20}, "update the memoryswap at the same time"),
    ({"nano_cpus": 10**9}, {"cpu_period": 100000}, "CPU Period cannot be updated as NanoCPUs has already been set"),
    ({"nano_cpus": 10**9}, {"cpu_quota": 100000}, "CPU Quota cannot be updated as NanoCPUs has already been set"),
    ({"cpu_period": 100000}, {"nano_cpus": 10**9}, "Nano CPUs cannot be updated as CPU Period has already been set"),
    ({"cpu_quota": 100000}, {"nano_cpus": 10**9}, "Nano CPUs cannot be updated as CPU Quota has already been set"),
]


@pytest.mark.row("E-014")
def test_updates_that_contradict_what_is_there_are_conflicts_in_dockers_words(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        for made, wanted, text in UPDATES:
            one = await engine.containers.create("", body("true", host=made))
            given = frozenset(name.replace("_", "") for name in wanted)
            with pytest.raises(Conflict, match=rf"^Cannot update container {one.id}: .*{text}"):
                await engine.containers.update(one.id, UpdateBody(**wanted), given)

    with_engine(tmp_path, test)


@pytest.mark.row("E-014")
def test_limits_of_a_running_container_follow_an_update_and_can_be_lifted(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        one = await run(engine, "sleep", "100", host={"memory": 64 << 20})
        files = {
            "memory": ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"),
            "pids": ("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"),
        }

        async def told(kind: str) -> str:
            code, text = await execute(engine, one, "sh", "-c", f"cat {' '.join(files[kind])} 2>/dev/null; true")
            assert code == 0
            return text.strip()

        await engine.containers.update(
            one, UpdateBody(memory=96 << 20, memory_swap=192 << 20, pids_limit=50), frozenset({"memory", "memoryswap", "pidslimit"})
        )  # fmt: skip
        assert (await told("memory"), await told("pids")) == (str(96 << 20), "50")
        await engine.containers.update(one, UpdateBody(pids_limit=-1), frozenset({"pidslimit"}))
        assert await told("pids") == "max"
        host = document(engine, one)["HostConfig"]
        assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (96 << 20, 192 << 20, 0)

    with_engine(tmp_path, test)


@pytest.mark.row("E-035", "E-264", "R-31")
def test_an_image_of_a_stopped_container_goes_by_force_and_the_container_runs_on_what_it_needs(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        image = await _committed(engine)
        one = await engine.containers.create("", body("cat", "/added", image=image))

        async def remove(*, force: bool) -> list[str]:
            users = engine.containers.users_of_image
            found = await engine.images.remove(image, force=force, prune=True, users=users)
            return [key for entry in found for key in entry]

        with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container"):
            await remove(force=False)
        assert await remove(force=True) == ["Deleted"]
        await engine.containers.start(one.id)
        assert await end_of(engine, one.id) == 0
        assert document(engine, one.id)["Image"] == image
        layer = engine.layers_of(engine.containers.get(one.id))[-1]
        assert engine.layers.has(layer)
        await engine.containers.remove(one.id)
        async with asyncio.timeout(5):
            while engine.layers.has(layer):
                await asyncio.sleep(0.01)

    with_engine(tmp_path, test)


@pytest.mark.row("E-024")
def test_a_start_waits_until_what_is_put_into_a_stopped_container_is_there(tmp_path: Path) -> None:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("late")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"late\n"))
    data = buffer.getvalue()
    go = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield data[:512]
        await go.wait()
        yield data[512:]

    async def test(engine: Engine) -> None:
        one = await engine.containers.create("", body("cat", "/late"))
        put = asyncio.create_task(
            engine.copies.put(one.id, "/", slow(), no_overwrite_dir_non_dir=False, copy_uid_gid=False)
        )
        await asyncio.sleep(0.1)
        start = asyncio.create_task(engine.containers.start(one.id))
        await asyncio.sleep(0.1)
        assert not start.done()
        assert document(engine, one.id)["State"]["Status"] == "created"
        go.set()
        await put
        await start
        await end_of(engine, one.id)
        assert await logs(engine, one.id) == "late\n"

    with_engine(tmp_path, test)


@pytest.mark.row("E-020")
def test_who_waits_for_a_start_that_fails_is_told_its_code_and_the_start_says_why(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        one = await engine.containers.create("", body("nothing-here"))
        waiting = engine.containers.wait(one.id, "next-exit")
        with pytest.raises(RuntimeStepError, match="executable file not found"):
            await engine.containers.start(one.id)
        result = await waiting
        assert result.exit_code == 127
        assert result.error == ""

    with_engine(tmp_path, test)


@pytest.mark.row("E-279")
def test_a_container_that_waits_for_its_next_start_can_be_killed(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        from tests.engine.engines import policy

        made = body("false", host=policy("always"))
        made.onggi = Extensions(restart_delay=20 * 10**9)
        one = (await engine.containers.create("", made)).id
        await engine.containers.start(one)
        async with asyncio.timeout(20):
            while document(engine, one)["State"]["Status"] != "restarting":
                await asyncio.sleep(0.01)
        await engine.containers.kill(one)
        state = document(engine, one)["State"]
        assert (state["Status"], state["Running"]) == ("exited", False)
        await engine.containers.remove(one)

    with_engine(tmp_path, test)
