"""Docker's rules for lists, names, users, policies and checks, as tables: what is asked, and what has to come out."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi.engine import limits
from onggi.engine.config import EndpointSettings, HealthConfig, HostConfig, PortBinding, ThrottleDevice, UpdateBody
from onggi.engine.engine import Engine
from onggi.errors import Conflict, InvalidArgument, NotFound, OnggiError, RuntimeStepError
from onggi.kernel import cgroups
from onggi.runtime.steps import FILE_FOR_DIRECTORY
from tests.engine.engines import (
    add_image,
    body,
    clear,
    document,
    end_of,
    execute,
    logs,
    needs_root,
    options,
    output,
    policy,
    run,
    with_engine,
)

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Engine]]:
    """Four containers: `web` runs with a port and a volume, `ended` left 3, `well` is healthy, `new` was only created."""

    async def build() -> Engine:
        engine = await Engine.open(options(tmp_path_factory.mktemp("listed")))
        await add_image(engine)
        await engine.endpoints.create_network("own")
        web = {
            "network_mode": "bridge",
            "binds": ["vol:/v"],
            "port_bindings": {"80/tcp": [PortBinding("127.0.0.1", "")]},
        }
        await run(
            engine, "sleep", "1000", name="web", host=web, labels={"a": "1", "x": "y"}, exposed_ports={"80/tcp": {}}
        )
        ended = await run(
            engine,
            "sh",
            "-c",
            "exit 3",
            name="ended",
            host={"network_mode": "own"},
            networks={"own": EndpointSettings()},
            labels={"a": "2"},
        )
        await end_of(engine, ended)
        well = await run(engine, "sleep", "1000", name="well", healthcheck=HealthConfig(["CMD", "true"], 100_000_000))
        container = engine.containers.get(well)
        async with asyncio.timeout(30):
            while container.health is None or container.health.status != "healthy":
                await asyncio.sleep(0.02)
        await engine.containers.create("new", body("true"))
        return engine

    with asyncio.Runner() as runner:
        engine = runner.run(build())
        try:
            yield runner, engine
        finally:
            runner.run(clear(engine))
            runner.run(engine.close())


ALL = {"web", "ended", "well", "new"}
FILTERS: list[tuple[dict[str, list[str]], set[str]]] = [
    ({}, ALL), ({"status": ["running"]}, {"web", "well"}), ({"status": ["exited"]}, {"ended"}), ({"status": ["created", "exited"]}, {"new", "ended"}),
    ({"exited": ["3"]}, {"ended"}), ({"exited": ["0"]}, set()), ({"label": ["a"]}, {"web", "ended"}), ({"label": ["a=1"]}, {"web"}),
    ({"label": ["a=1", "x"]}, {"web"}), ({"label": ["a=1", "x=z"]}, set()), ({"name": ["we"]}, {"web", "well"}), ({"name": ["^/web$"]}, {"web"}),
    ({"name": ["WEB"]}, set()), ({"ancestor": ["busybox"]}, ALL), ({"ancestor": ["nope"]}, set()), ({"before": ["well"]}, {"web", "ended"}),
    ({"since": ["ended"]}, {"well", "new"}), ({"volume": ["vol"]}, {"web"}), ({"volume": ["/v"]}, {"web"}), ({"network": ["own"]}, {"ended"}),
    ({"network": ["bridge"]}, {"web"}), ({"network": ["none"]}, {"well", "new"}), ({"health": ["healthy"]}, {"well"}), ({"health": ["none"]}, ALL - {"well"}),
    ({"expose": ["80"]}, {"web"}), ({"expose": ["70-90/tcp"]}, {"web"}), ({"expose": ["80/udp"]}, set()), ({"publish": ["1-2"]}, set()),
    ({"is-task": ["false"]}, ALL), ({"is-task": ["true"]}, set()), ({"isolation": ["default"]}, ALL), ({"id": ["zz"]}, set()),
    ({"status": ["running"], "name": ["web"]}, {"web"}),
]  # fmt: skip


@pytest.mark.row("E-001", "E-312", "E-229")
@pytest.mark.parametrize(("filters", "names"), FILTERS, ids=[str(f) for f, _ in FILTERS])
def test_a_list_has_what_its_filters_let_through(
    listed: tuple[asyncio.Runner, Engine], filters: dict[str, list[str]], names: set[str]
) -> None:
    runner, engine = listed
    found = runner.run(engine.containers.list(filters, all=True))
    assert {one["Names"][0].removeprefix("/") for one in found} == names
    running = runner.run(engine.containers.list(filters))
    shown = names if "status" in filters else names & {"web", "well"}
    assert {one["Names"][0].removeprefix("/") for one in running} == shown


@pytest.mark.row("E-312")
@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"status": ["foo"]}, "invalid filter 'status=foo': invalid value for state (foo): must be one of created, running, paused, restarting, removing, exited, dead"),
        ({"health": ["foo"]}, "invalid filter 'health=foo': invalid value for health (foo): must be one of none, starting, healthy, unhealthy"),
        ({"exited": ["x"]}, "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"),
        ({"is-task": ["foo"]}, "invalid filter 'is-task=[foo]'"),
        ({"expose": ["100-1"]}, "invalid filter 'expose=100-1': Invalid range specified for the Port: 100-1"),
        ({"before": ["nope"]}, "No such container: nope"),
    ],
)  # fmt: skip
def test_a_filter_that_means_nothing_is_refused(
    listed: tuple[asyncio.Runner, Engine], filters: dict[str, list[str]], text: str
) -> None:
    runner, engine = listed
    with pytest.raises((InvalidArgument, NotFound)) as caught:
        runner.run(engine.containers.list(filters, all=True))
    assert str(caught.value) == text


@pytest.mark.row("E-001")
def test_a_list_with_a_limit_has_the_newest_whatever_their_state(listed: tuple[asyncio.Runner, Engine]) -> None:
    runner, engine = listed
    found = runner.run(engine.containers.list({}, limit=2))
    assert [one["Names"] for one in found] == [["/new"], ["/well"]]


@pytest.mark.row("E-233", "E-259", "E-260")
def test_a_container_is_found_by_id_name_and_beginning_and_a_name_wins(listed: tuple[asyncio.Runner, Engine]) -> None:
    runner, engine = listed
    web = engine.containers.get("web")
    for text in (web.id, web.id[:12], web.id[:4], "web", "/web"):
        assert engine.containers.get(text) is web
    with pytest.raises(NotFound, match="^No such container: nope$"):
        engine.containers.get("nope")
    made = runner.run(engine.containers.create(web.id[:12], body("true")))
    assert engine.containers.get(web.id[:12]).id == made.id
    with pytest.raises(
        Conflict,
        match=rf'^Conflict. The container name "/web" is already in use by container "{web.id}". You have to remove',
    ):
        runner.run(engine.containers.create("web", body("true")))
    runner.run(engine.containers.remove(made.id))


@pytest.mark.row("E-301", "E-302")
def test_info_counts_containers_and_tells_what_the_kernel_can(listed: tuple[asyncio.Runner, Engine]) -> None:
    runner, engine = listed
    info = runner.run(engine.system.info())
    assert (
        info["Containers"],
        info["ContainersRunning"],
        info["ContainersPaused"],
        info["ContainersStopped"],
        info["Images"],
    ) == (4, 2, 0, 2, 1)
    assert info["NFd"] > 10
    assert info["NGoroutines"] > 0
    able = cgroups.abilities()
    for field, ability in (("MemoryLimit", "memory"), ("SwapLimit", "swap"), ("CpuCfsQuota", "cpu_cfs"), ("CPUShares", "cpu_shares"), ("CPUSet", "cpuset"),
                           ("PidsLimit", "pids"), ("OomKillDisable", "oom_kill_disable")):  # fmt: skip
        assert info[field] == (ability in able), field


@pytest.mark.row("E-045")
def test_df_tells_sizes_of_images_containers_and_volumes(listed: tuple[asyncio.Runner, Engine]) -> None:
    runner, engine = listed
    runner.run(
        execute(
            engine,
            "web",
            "sh",
            "-c",
            "dd if=/dev/zero of=/big bs=1024 count=100 2>/dev/null; dd if=/dev/zero of=/v/big bs=1024 count=50 2>/dev/null",
        )
    )
    found = runner.run(engine.system.df(frozenset({"container", "image", "volume", "build-cache"})))
    by_name = {one["Names"][0]: one for one in found["container"]["Items"]}
    assert by_name["/web"]["SizeRw"] >= 100 << 10
    assert by_name["/web"]["SizeRootFs"] > by_name["/web"]["SizeRw"]
    assert found["container"]["ActiveCount"] == 2
    volume = next(one for one in found["volume"]["Items"] if one["Name"] == "vol")
    assert volume["UsageData"]["Size"] >= 50 << 10
    assert volume["UsageData"]["RefCount"] == 1
    assert found["image"]["Items"][0]["Containers"] == 4


USERS = [
    ("", "0 0 0"), ("user", "1000 1000 1000,2000"), ("1000", "1000 1000 1000,2000"), ("1000:0", "1000 0 0"), ("user:extra", "1000 2000 2000"),
    ("12345", "12345 0 0"), ("12345:54321", "12345 54321 54321"), ("root", "0 0 0"),
]  # fmt: skip


@pytest.mark.row("E-202")
@pytest.mark.parametrize(("user", "ids"), USERS)
def test_a_user_is_looked_up_in_the_containers_own_files(
    listed: tuple[asyncio.Runner, Engine], user: str, ids: str
) -> None:
    runner, engine = listed
    script = (
        "sed -n 's/^Uid:\\t\\([0-9]*\\).*/\\1/p; s/^Gid:\\t\\([0-9]*\\).*/\\1/p; s/^Groups:\\t//p' /proc/self/status"
    )
    lines = runner.run(output(engine, "sh", "-c", script, user=user)).split("\n")
    groups = ",".join(sorted(lines[2].split(), key=int))
    assert f"{lines[0]} {lines[1]} {groups}" == ids


@pytest.mark.row("E-202", "E-222")
@pytest.mark.parametrize(("words", "text"), [({"user": "nope"}, "unable to find user nope"), ({"user": "root:nope"}, "unable to find group nope"), ({"host": {"group_add": ["nope"]}}, "unable to find group nope")])  # fmt: skip
def test_a_user_or_group_that_nobody_knows_fails_the_start(
    listed: tuple[asyncio.Runner, Engine], words: dict[str, Any], text: str
) -> None:
    runner, engine = listed
    made = runner.run(engine.containers.create("", body("true", **words)))
    with pytest.raises(RuntimeStepError, match=text):
        runner.run(engine.containers.start(made.id))
    runner.run(engine.containers.remove(made.id))


@pytest.mark.row("E-261", "E-262", "E-268")
@pytest.mark.parametrize(
    ("command", "part", "code"),
    [(["nope"], 'exec: "nope": executable file not found in $PATH', 127), ([""], 'exec: "": executable file not found in $PATH', 127),
     (["/nope"], 'exec: "/nope": stat /nope: no such file or directory', 127), (["/etc/passwd"], 'exec: "/etc/passwd": permission denied', 126),
     (["/etc"], 'exec: "/etc": is a directory: permission denied', 126), (["/etc/passwd/x"], f"stat /etc/passwd/x: not a directory: {FILE_FOR_DIRECTORY}", 127)],
)  # fmt: skip
def test_a_start_that_fails_says_so_in_the_words_that_scrapers_match(
    listed: tuple[asyncio.Runner, Engine], command: list[str], part: str, code: int
) -> None:
    runner, engine = listed
    made = runner.run(engine.containers.create("", body(*command)))
    with pytest.raises(RuntimeStepError) as caught:
        runner.run(engine.containers.start(made.id))
    text = str(caught.value)
    assert text.startswith(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    )
    assert text.endswith(part)
    assert '{"message"' not in text
    assert (caught.value.status, document(engine, made.id)["State"]["ExitCode"]) == (400, code)
    runner.run(engine.containers.remove(made.id))


@pytest.mark.row("E-265", "E-219")
def test_a_port_that_is_taken_keeps_the_container_created(listed: tuple[asyncio.Runner, Engine]) -> None:
    runner, engine = listed
    port = engine.publishing.of(engine.containers.get("web"))[0].host_port
    wanted = {"network_mode": "bridge", "port_bindings": {"80/tcp": [PortBinding("127.0.0.1", str(port))]}}
    made = runner.run(engine.containers.create("", body("true", host=wanted)))
    with pytest.raises(
        Conflict,
        match=rf"driver failed programming external connectivity on endpoint .*: Bind for 127.0.0.1:{port} failed: port is already allocated",
    ):
        runner.run(engine.containers.start(made.id))
    assert document(engine, made.id)["State"]["Status"] == "created"
    runner.run(engine.containers.remove(made.id))


@pytest.mark.row("E-272")
@pytest.mark.parametrize(
    ("make", "status"),
    [(lambda e: e.containers.get("nope"), 404), (lambda e: e.containers.find("web").must_be_alive() and e.containers.get("new").must_be_alive(), 409)],
)  # fmt: skip
def test_errors_have_the_kind_that_compose_decides_by(
    listed: tuple[asyncio.Runner, Engine], make: Any, status: int
) -> None:
    with pytest.raises(OnggiError) as caught:
        make(listed[1])
    assert caught.value.status == status


@pytest.mark.row("E-212")
def test_throttles_of_a_disk_reach_the_cgroup_and_follow_an_update(tmp_path: Path) -> None:
    device = next((f"/dev/{name}" for name in sorted(os.listdir("/sys/block")) if os.path.exists(f"/dev/{name}")), "")
    if not device or "blkio_throttle" not in cgroups.abilities():
        wanted = HostConfig(blkio_device_read_bps=[ThrottleDevice("/dev/nope", 1)])
        with pytest.raises(InvalidArgument, match="stat /dev/nope: no such file or directory"):
            limits.to_spec(wanted, devices=[])
        return

    async def test(engine: Engine) -> None:
        one = await run(engine, "sleep", "100", host={"blkio_device_read_bps": [ThrottleDevice(device, 1 << 20)]})
        group = cgroups.open(engine.cgroup_path(engine.containers.get(one)))
        places = {**group.view(), "unified": f"/sys/fs/cgroup{engine.cgroup_path(engine.containers.get(one))}"}
        files = [f"{path}/{name}" for path in places.values() for name in ("blkio.throttle.read_bps_device", "io.max")]

        def told() -> str:
            return "".join(Path(file).read_text() for file in files if os.path.exists(file))

        assert str(1 << 20) in told()
        wanted = UpdateBody(blkio_device_read_bps=[ThrottleDevice(device, 2 << 20)])
        await engine.containers.update(one, wanted, frozenset({"blkiodevicereadbps"}))
        assert str(2 << 20) in told()

    with_engine(tmp_path, test)


POLICIES = [
    ("always", True, True), ("always", False, True), ("unless-stopped", True, False), ("unless-stopped", False, True), ("no", False, False),
]  # fmt: skip


@pytest.mark.row("E-278", "R-10", "R-28")
@pytest.mark.parametrize(("name", "by_hand", "starts"), POLICIES)
def test_policies_decide_what_runs_when_the_engine_comes_up(
    tmp_path: Path, name: str, by_hand: bool, starts: bool
) -> None:
    async def main() -> None:
        engine = await Engine.open(options(tmp_path))
        await add_image(engine)
        one = await run(engine, "sleep", "100", name="one", host=policy(name))
        if by_hand:
            await engine.containers.stop(one, timeout=0)
        pid = engine.containers.get(one).row.pid
        await engine.close()
        if not by_hand:  # as a machine that goes down
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.2)
        again = await Engine.open(options(tmp_path))
        try:
            if starts:
                async with asyncio.timeout(30):
                    while not document(again, "one")["State"]["Running"]:
                        await asyncio.sleep(0.02)
            else:
                await asyncio.sleep(0.3)
                assert not document(again, "one")["State"]["Running"]
        finally:
            await clear(again)
            await again.close()

    asyncio.run(main())


@pytest.mark.row("E-305", "E-306")
def test_failures_in_the_start_period_do_not_count_and_a_success_ends_it(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        check = HealthConfig(["CMD", "test", "-e", "/tmp/ok"], 300_000_000, 0, 60_000_000_000, 50_000_000, 2)
        one = await run(engine, "sleep", "100", healthcheck=check)
        container = engine.containers.get(one)
        async with asyncio.timeout(30):
            while container.health is None or len(container.health.log) < 4:
                await asyncio.sleep(0.02)
        assert (container.health.status, container.health.streak) == ("starting", 0)
        await execute(engine, one, "touch", "/tmp/ok")
        await asyncio.wait_for(container.next_health(), 5)
        assert container.health.status == "healthy"
        await execute(engine, one, "rm", "/tmp/ok")
        await asyncio.wait_for(container.next_health(), 5)
        assert (container.health.status, container.health.streak) == ("unhealthy", 2)
        assert len(container.health.log) == 5

    with_engine(tmp_path, test)


@pytest.mark.row("E-280", "E-011")
@pytest.mark.parametrize(
    ("config", "words", "signal_name", "code"),
    [({}, {}, "TERM", 7), ({"stop_signal": "SIGUSR1"}, {}, "USR1", 7), ({"stop_signal": "SIGUSR1"}, {"signal": "SIGINT"}, "INT", 7), ({}, {"timeout": 0}, "TERM", 137)],
)  # fmt: skip
def test_a_stop_sends_the_signal_that_was_said_last_and_kills_after_its_time(
    listed: tuple[asyncio.Runner, Engine], config: dict[str, Any], words: dict[str, Any], signal_name: str, code: int
) -> None:
    runner, engine = listed

    async def test() -> None:
        one = await run(
            engine, "sh", "-c", f"trap 'exit 7' {signal_name}; echo set; while true; do sleep 0.02; done", **config
        )
        async with asyncio.timeout(30):
            while "set" not in await logs(engine, one):
                await asyncio.sleep(0.02)
        await engine.containers.stop(one, **({"timeout": 5} | words))
        assert document(engine, one)["State"]["ExitCode"] == code
        await engine.containers.remove(one)

    runner.run(test())


@pytest.mark.row("E-223", "E-012", "R-29")
def test_an_init_forwards_signals_and_reaps_what_others_have_left(listed: tuple[asyncio.Runner, Engine]) -> None:
    runner, engine = listed

    async def test() -> None:
        script = "trap 'echo got; exit 5' TERM; (sleep 0.1 & exec true) & sleep 0.4; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l; echo ready; while true; do sleep 0.02; done"
        one = await run(engine, "sh", "-c", script, host={"init": True})
        async with asyncio.timeout(30):
            while "ready" not in await logs(engine, one):
                await asyncio.sleep(0.02)
        assert (await logs(engine, one)).split()[0] == "0"
        titles, rows = await engine.containers.top(one, "-ef")
        assert "onggi-init" in rows[0][titles.index("CMD")]
        await engine.containers.stop(one, timeout=5)
        assert document(engine, one)["State"]["ExitCode"] == 5
        assert "got" in await logs(engine, one)
        await engine.containers.remove(one)

    runner.run(test())
