"""Create bodies as dockerd judges them: refusals with its texts, warnings, and what inspect fills in.

Expected values are dockerd 28.5's own answers. It gives 500 to some of these: a wrong word is the client's, so 400 here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onggi.api.bodies import decode_body
from onggi.engine.config import CreateBody
from onggi.engine.engine import Engine
from onggi.errors import InvalidArgument
from onggi.kernel import cgroups
from tests.engine.engines import add_image, clear, document, needs_root, options, run

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

MIB = 1 << 20


@dataclass(slots=True)
class Bench:
    """One engine for the tables below."""

    loop: asyncio.AbstractEventLoop
    engine: Engine

    def create(self, body: dict[str, Any]) -> tuple[str, list[str]]:
        decoded = decode_body(msgspec.json.encode({"Image": "busybox", "Cmd": ["true"]} | body), CreateBody)
        made = self.loop.run_until_complete(self.engine.containers.create("", decoded))
        return made.id, made.warnings

    def inspect(self, body: dict[str, Any]) -> dict[str, Any]:
        identifier, _ = self.create(body)
        found = document(self.engine, identifier)
        self.loop.run_until_complete(self.engine.containers.remove(identifier, volumes=True))
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root: Path = tmp_path_factory.mktemp("engine")
    with asyncio.Runner() as runner:
        engine = runner.run(Engine.open(options(root)))
        try:
            runner.run(add_image(engine))
            runner.run(run(engine, "sleep", "1000", name="runs"))
            yield Bench(runner.get_loop(), engine)
        finally:
            runner.run(clear(engine))
            runner.run(engine.close())


def host(**words: Any) -> dict[str, Any]:
    return {"HostConfig": words}


def mount(**words: Any) -> dict[str, Any]:
    return {"HostConfig": {"Mounts": [words]}}


REFUSED = [
    ("E-210", host(Memory=5 * MIB), "Minimum memory limit allowed is 6MB"),
    ("E-210", host(Memory=-1), "Minimum memory limit allowed is 6MB"),
    ("E-210", host(Memory=64 * MIB, MemorySwap=32 * MIB), "Minimum memoryswap limit should be larger than memory limit, see usage"),
    ("E-210", host(MemorySwap=64 * MIB), "You should always set the Memory limit when using Memoryswap limit, see usage"),
    ("E-210", host(Memory=64 * MIB, MemoryReservation=128 * MIB), "Minimum memory limit can not be less than memory reservation limit, see usage"),
    ("E-210", host(MemoryReservation=MIB), "Minimum memory reservation allowed is 6MB"),
    ("E-210", host(OomScoreAdj=2000), "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
    ("E-211", host(NanoCpus=10**9, CpuPeriod=100000), "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
    ("E-211", host(NanoCpus=10**9, CpuQuota=100000), "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
    ("E-211", host(NanoCpus=-1), "range of CPUs is from 0.01 to "),
    ("E-211", host(NanoCpus=999 * 10**9), "range of CPUs is from 0.01 to "),
    ("E-211", host(CpuPeriod=500), "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
    ("E-211", host(CpuPeriod=2000000), "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
    ("E-211", host(CpuQuota=500), "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    ("E-211", host(CpuShares=-1), "invalid CPU shares (-1): value must be a positive integer"),
    ("E-211", host(CpusetCpus="a"), "Invalid value a for cpuset cpus: invalid format: a"),
    ("E-211", host(CpusetCpus="1-0"), "Invalid value 1-0 for cpuset cpus: invalid format: 1-0"),
    ("E-211", host(CpusetCpus="0,"), "Invalid value 0, for cpuset cpus: invalid format: 0,"),
    ("E-211", host(CpusetCpus="0-99999"), "Invalid value 0-99999 for cpuset cpus: value of out range, maximum is 8192"),
    ("E-211", host(CpusetCpus="4000"), "Requested CPUs are not available - requested 4000, available: "),
    ("E-211", host(CpusetMems="900"), "Requested memory nodes are not available - requested 900, available: "),
    ("E-211", host(CpuRealtimePeriod=1000, CpuRealtimeRuntime=2000), "cpu real-time runtime cannot be higher than cpu real-time period"),
    ("E-224", host(IOMaximumIOps=5), "invalid option: QoS maximum IOPs configuration is not supported on linux"),
    ("E-224", host(IOMaximumBandwidth=5), "invalid option: QoS maximum bandwidth configuration is not supported on linux"),
    ("E-224", host(Isolation="hyperv"), "invalid isolation (hyperv): linux only supports 'default'"),
    ("E-213", host(Ulimits=[{"Name": "nofile", "Soft": 300, "Hard": 200}]), "ulimit soft limit must be less than or equal to hard limit: 300 > 200"),
    ("E-213", host(Ulimits=[{"Name": "nope", "Soft": 1, "Hard": 1}]), "invalid ulimit type: nope"),
    ("E-213", host(CgroupnsMode="foo"), "invalid cgroup namespace mode: foo"),
    ("E-214", host(DeviceCgroupRules=["foo"]), "invalid device cgroup rule format: 'foo'"),
    ("E-214", host(DeviceRequests=[{"Count": 1, "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}]), "cannot set both Count and DeviceIDs on device request"),
    ("E-215", host(Binds=["/tmp:x"]), "invalid volume specification: '/tmp:x': invalid mount config for type \"bind\": invalid mount path: 'x' mount path must be absolute"),
    ("E-215", host(Binds=["/tmp:/x:foo"]), "invalid mode: foo"),
    ("E-215", host(Binds=["/tmp:/x:rw,ro"]), "invalid mode: rw,ro"),
    ("E-215", host(Binds=["/tmp:/x:shared,slave"]), "invalid mode: shared,slave"),
    ("E-215", host(Binds=["/tmp:/x:nocopy"]), "invalid volume specification: '/tmp:/x:nocopy': invalid mount config for type \"bind\": field VolumeOptions must not be specified"),
    ("E-215", host(Binds=["vol:/x:rshared"]), "invalid volume specification: 'vol:/x:rshared': invalid mount config for type \"volume\": field BindOptions must not be specified"),
    ("E-215", host(Binds=["/tmp:/"]), "invalid volume specification: '/tmp:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'"),
    ("E-215", host(Binds=["/tmp:/x:ro:rw"]), "invalid volume specification: '/tmp:/x:ro:rw'"),
    ("E-215", host(Binds=[""]), "invalid volume specification: ''"),
    ("E-215", host(Binds=[":/x"]), "invalid volume specification: ':/x'"),
    ("E-215", host(Binds=["/tmp:/x", "/etc:/x"]), "Duplicate mount point: /x"),
    ("E-215", host(Tmpfs={"/t": ""}, Binds=["/tmp:/t"]), "Duplicate mount point: /t"),
    ("E-215", host(Tmpfs={"t": ""}), "invalid mount path: 't' mount path must be absolute"),
    ("E-215", host(Tmpfs={"/": ""}), "invalid specification: destination can't be '/'"),
    ("E-215", host(VolumesFrom=["nope"]), "No such container: nope"),
    ("E-215", host(VolumesFrom=[""]), "volumes-from specification cannot be an empty string"),
    ("E-215", host(VolumesFrom=["runs:foo"]), "invalid mode: foo"),
    ("E-215", host(ShmSize=-1), "SHM size can not be less than 0"),
    ("E-215", host(StorageOpt={"foo": "1G"}), "Unknown option foo"),
    ("E-216", mount(Type="foo", Target="/x"), 'invalid mount config for type "foo": mount type unknown'),
    ("E-216", mount(Type="npipe", Source="x", Target="/x"), 'invalid mount config for type "npipe": mount type unknown'),
    ("E-216", mount(Type="cluster", Source="x", Target="/x"), 'invalid mount config for type "cluster": mount type unknown'),
    ("E-216", mount(Type="bind", Source="/tmp"), 'invalid mount config for type "bind": field Target must not be empty'),
    ("E-216", mount(Type="bind", Source="/tmp", Target="x"), "invalid mount config for type \"bind\": invalid mount path: 'x' mount path must be absolute"),
    ("E-216", mount(Type="bind", Source="/tmp", Target="/"), "invalid mount config for type \"bind\": invalid specification: destination can't be '/'"),
    ("E-216", mount(Type="bind", Target="/x"), 'invalid mount config for type "bind": field Source must not be empty'),
    ("E-216", mount(Type="bind", Source="tmp", Target="/x"), "invalid mount config for type \"bind\": invalid mount path: 'tmp' mount path must be absolute"),
    ("E-216", mount(Type="bind", Source="/no/such", Target="/x"), 'invalid mount config for type "bind": bind source path does not exist: /no/such'),
    ("E-216", mount(Type="bind", Source="/tmp", Target="/x", VolumeOptions={"NoCopy": True}), 'VolumeOptions must not be specified on mount type "bind"'),
    ("E-216", mount(Type="bind", Source="/tmp", Target="/x", TmpfsOptions={"SizeBytes": 1}), 'TmpfsOptions must not be specified on mount type "bind"'),
    ("E-216", mount(Type="bind", Source="/tmp", Target="/x", ImageOptions={"Subpath": "x"}), 'invalid mount config for type "bind": field ImageOptions must not be specified'),
    ("E-216", mount(Type="volume", Source="vol", Target="/x", BindOptions={"NonRecursive": True}), 'BindOptions must not be specified on mount type "volume"'),
    ("E-216", mount(Type="tmpfs", Target="/x", BindOptions={"NonRecursive": True}), 'BindOptions must not be specified on mount type "tmpfs"'),
    ("E-217", mount(Type="bind", Source="/tmp", Target="/x", BindOptions={"Propagation": "foo"}), 'invalid mount config for type "bind": invalid propagation mode: foo'),
    ("E-218", mount(Type="volume", Target="/x", VolumeOptions={"Subpath": "a"}), 'invalid mount config for type "volume": must not set Subpath when using anonymous volumes'),
    ("E-218", mount(Type="volume", Source="vol", Target="/x", VolumeOptions={"Subpath": "../a"}), 'invalid mount config for type "volume": subpath must be a relative path within the volume'),
    ("E-218", mount(Type="volume", Target="/x", ReadOnly=True), 'invalid mount config for type "volume": must not set ReadOnly mode when using anonymous volumes'),
    ("E-218", mount(Type="tmpfs", Source="x", Target="/x"), 'invalid mount config for type "tmpfs": field Source must not be specified'),
    ("E-218", mount(Type="tmpfs", Target="/x", TmpfsOptions={"Options": [["foo"]]}), 'invalid mount config for type "tmpfs": invalid option: foo'),
    ("E-218", mount(Type="tmpfs", Target="/x", TmpfsOptions={"Options": [["a", "b", "c"]]}), 'invalid mount config for type "tmpfs": invalid option array length'),
    ("E-218", mount(Type="image", Target="/x"), 'invalid mount config for type "image": field Source must not be empty'),
    ("E-218", mount(Type="image", Source="busybox", Target="/x", ImageOptions={"Subpath": "../x"}), 'invalid mount config for type "image": subpath must be a relative path within the volume'),
    ("E-219", host(NetworkMode="container:"), "invalid network mode: invalid container format container:<name|id>"),
    ("E-219", host(NetworkMode="host", Links=["runs:a"]), "conflicting options: host type networking can't be used with links. This would result in undefined behavior"),
    ("E-219", {"Hostname": "x"} | host(NetworkMode="container:runs"), "conflicting options: hostname and the network mode"),
    ("E-219", host(NetworkMode="container:runs", Links=["runs:a"]), "conflicting options: container type network can't be used with links. This would result in undefined behavior"),
    ("E-219", host(NetworkMode="container:runs", Dns=["1.1.1.1"]), "conflicting options: dns and the network mode"),
    ("E-219", host(NetworkMode="container:runs", ExtraHosts=["a:1.2.3.4"]), "conflicting options: custom host-to-IP mapping and the network mode"),
    ("E-219", host(NetworkMode="container:runs", PublishAllPorts=True), "conflicting options: port publishing and the container type network mode"),
    ("E-219", {"ExposedPorts": {"80/tcp": {}}} | host(NetworkMode="container:runs"), "conflicting options: port exposing and the container type network mode"),
    ("E-219", host(PortBindings={"foo": [{"HostPort": "80"}]}), 'invalid port specification: "foo"'),
    ("E-219", host(PortBindings={"80/tcp": [{"HostPort": "foo"}]}), 'invalid port specification: "foo"'),
    ("E-219", host(PortBindings={"80/tcp": [{"HostPort": "70000"}]}), 'invalid port specification: "70000"'),
    ("E-219", host(PortBindings={"80/tcp": [{"HostPort": "10-5"}]}), 'invalid port specification: "10-5"'),
    ("E-219", host(PortBindings={"99999/tcp": [{"HostPort": "80"}]}), 'invalid port specification: "99999"'),
    ("E-219", host(ExtraHosts=["foo"]), 'bad format for add-host: "foo"'),
    ("E-219", host(ExtraHosts=["a:foo"]), 'invalid IP address in add-host: "foo"'),
    ("E-219", host(Links=["nope:a"]), "could not get container for nope: No such container: nope"),
    ("E-219", host(Links=["a:b:c"]), "bad format for links: a:b:c"),
    ("E-219", host(Links=[""]), "empty string specified for links"),
    ("E-220", {"NetworkingConfig": {"EndpointsConfig": {"bridge": None}}}, "invalid config for network bridge: EndpointsConfig is nil"),
    ("E-220", {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "foo"}}}}, "invalid config for network bridge: invalid MAC address foo"),
    ("E-220", {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["a"]}}}}, "invalid config for network bridge: invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user defined networks"),
    ("E-220", {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "198.51.100.9"}}}}}, "invalid config for network bridge: invalid endpoint settings:\n* user specified IP address is supported on user defined networks only\n* no configured subnet or ip-range contain the IP address 198.51.100.9"),
    ("E-221", host(IpcMode="foo"), "invalid IPC mode: foo"),
    ("E-221", host(PidMode="private"), "invalid PID mode: private"),
    ("E-221", host(PidMode="container:"), "invalid PID mode: container:"),
    ("E-221", host(UTSMode="foo"), "invalid UTS mode: foo"),
    ("E-221", {"Hostname": "x"} | host(UTSMode="host"), "conflicting options: hostname and the UTS mode"),
    ("E-221", host(IpcMode="container:nope"), "No such container: nope"),
    ("E-221", host(PidMode="container:nope"), "No such container: nope"),
    ("E-222", host(CapAdd=["FOO"]), 'invalid CapAdd: unknown capability: "CAP_FOO"'),
    ("E-222", host(CapDrop=["FOO"]), 'invalid CapDrop: unknown capability: "CAP_FOO"'),
    ("E-222", host(SecurityOpt=["foo"]), 'invalid --security-opt 1: "foo"'),
    ("E-222", host(SecurityOpt=["foo=bar"]), 'invalid --security-opt 2: "foo=bar"'),
    ("E-222", host(SecurityOpt=["seccomp"]), 'invalid --security-opt 1: "seccomp"'),
    ("E-222", host(SecurityOpt=["no-new-privileges=foo"]), 'invalid --security-opt 2: "no-new-privileges=foo"'),
    ("E-222", host(SecurityOpt=["seccomp={foo"]), "decoding seccomp profile failed: "),
    ("E-222", host(Sysctls={"net.ipv4.conf.eth0.rp_filter": "0"}), 'interface specific sysctl setting "net.ipv4.conf.eth0.rp_filter" must be supplied using driver option'),
    ("E-223", host(RestartPolicy={"Name": "foo"}), "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"),
    ("E-223", host(RestartPolicy={"Name": "on-failure", "MaximumRetryCount": -1}), "invalid restart policy: maximum retry count cannot be negative"),
    ("E-277", host(RestartPolicy={"Name": "always", "MaximumRetryCount": 3}), "invalid restart policy: maximum retry count can only be used with 'on-failure'"),
    ("E-277", host(RestartPolicy={"Name": "always", "MaximumRetryCount": -3}), "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative"),
    ("E-223", host(RestartPolicy={"Name": "always"}, AutoRemove=True), "can't create 'AutoRemove' container with restart policy"),
    ("E-223", host(Runtime="foo"), "unknown or invalid runtime name: foo"),
    ("E-223", host(Annotations={"": "b"}), "invalid Annotations: the empty string is not permitted as an annotation key"),
    ("E-201", {"Hostname": "a" * 70}, f'hostname "{"a" * 70}" is too long (maximum 64 bytes)'),
    ("E-204", {"Env": ["=x"]}, "invalid environment variable: =x"),
    ("E-205", {"Cmd": None, "Entrypoint": [""]}, "no command specified"),
    ("E-206", {"WorkingDir": "a"}, "the working directory 'a' is invalid, it needs to be an absolute path"),
    ("E-207", {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 100}}, "Interval in Healthcheck cannot be less than 1ms"),
    ("E-207", {"Healthcheck": {"Test": ["CMD", "true"], "StartInterval": -1}}, "StartInterval in Healthcheck cannot be less than 1ms"),
    ("E-207", {"Healthcheck": {"Test": ["CMD", "true"], "Retries": -1}}, "Retries in Healthcheck cannot be negative"),
    ("E-208", {"StopSignal": "FOO"}, "invalid signal: FOO"),
]  # fmt: skip


@pytest.mark.row(
    "E-201", "E-204", "E-205", "E-206", "E-207", "E-208", "E-210", "E-211", "E-213", "E-214", "E-215", "E-216", "E-217", "E-218",
    "E-219", "E-220", "E-221", "E-222", "E-223", "E-224", "E-271", "E-277",
)  # fmt: skip
@pytest.mark.parametrize(("row", "body", "text"), REFUSED, ids=[f"{row}-{text[:40]}" for row, _, text in REFUSED])
def test_what_cannot_be_is_refused_in_dockers_words(bench: Bench, row: str, body: dict[str, Any], text: str) -> None:
    before = len(bench.engine.containers)
    with pytest.raises(InvalidArgument) as caught:
        bench.create(body)
    assert str(caught.value).startswith(text), row
    assert len(bench.engine.containers) == before


@pytest.mark.row("E-210", "E-224", "E-273")
@pytest.mark.parametrize(
    ("body", "warning", "field", "value"),
    [
        (host(OomKillDisable=True), "OOM killer is disabled for the container, but no memory limit is set", "OomKillDisable", True),
        (host(CpuPercent=50), "linux does not support CPU percent. Percent discarded.", "CpuPercent", 0),
        (host(NetworkMode="host", PortBindings={"80/tcp": [{"HostPort": "8080"}]}), "Published ports are discarded when using host network mode", "NetworkMode", "host"),
    ],
)  # fmt: skip
def test_what_is_dropped_is_warned_of(
    bench: Bench, body: dict[str, Any], warning: str, field: str, value: object
) -> None:
    if field == "OomKillDisable" and "oom_kill_disable" not in cgroups.abilities():
        warning, value = "Your kernel does not support OomKillDisable. OomKillDisable discarded.", None
    identifier, warnings = bench.create(body)
    assert any(text.startswith(warning) for text in warnings), warnings
    assert document(bench.engine, identifier)["HostConfig"][field] == value
    bench.loop.run_until_complete(bench.engine.containers.remove(identifier))


FILLED = [
    ("E-210", host(Memory=64 * MIB), "MemorySwap", 128 * MIB),
    ("E-210", host(Memory=64 * MIB, MemorySwap=-1), "MemorySwap", -1),
    ("E-210", host(MemorySwappiness=-1), "MemorySwappiness", None),
    ("E-213", host(PidsLimit=-1), "PidsLimit", None),
    ("E-213", host(PidsLimit=0), "PidsLimit", None),
    ("E-213", host(PidsLimit=50), "PidsLimit", 50),
    ("E-215", host(), "ShmSize", 64 * MIB),
    ("E-219", host(NetworkMode="default"), "NetworkMode", "bridge"),
    ("E-221", host(), "IpcMode", "private"),
    ("E-221", host(IpcMode="host"), "SecurityOpt", ["label=disable"]),
    ("E-221", host(PidMode="host"), "SecurityOpt", ["label=disable"]),
    ("E-222", host(Privileged=True), "SecurityOpt", ["label=disable"]),
    ("E-222", host(Privileged=True), "MaskedPaths", None),
    ("E-222", host(MaskedPaths=[], ReadonlyPaths=[]), "MaskedPaths", []),
    ("E-222", host(CapAdd=["NET_ADMIN", "cap_sys_time"]), "CapAdd", ["NET_ADMIN", "cap_sys_time"]),
    ("E-223", host(RestartPolicy={"Name": ""}), "RestartPolicy", {"Name": "no", "MaximumRetryCount": 0}),
    ("E-223", host(ConsoleSize=[10]), "ConsoleSize", [10, 0]),
    ("E-223", host(Annotations={"a": "b"}), "Annotations", {"a": "b"}),
    ("E-223", host(Init=True), "Init", True),
]  # fmt: skip


@pytest.mark.row("E-003", "E-210", "E-213", "E-215", "E-221", "E-222", "E-223")
@pytest.mark.parametrize(("row", "body", "field", "value"), FILLED, ids=[f"{r}-{f}-{v}" for r, _, f, v in FILLED])
def test_inspect_tells_what_was_asked_and_what_was_filled_in(
    bench: Bench, row: str, body: dict[str, Any], field: str, value: object
) -> None:
    assert bench.inspect(body)["HostConfig"][field] == value, row


@pytest.mark.row("E-219", "E-221")
def test_modes_and_links_name_the_container_by_id_so_that_a_rename_changes_nothing(bench: Bench) -> None:
    other = bench.engine.containers.get("runs").id
    found = bench.inspect(host(NetworkMode="container:runs", PidMode="container:runs"))["HostConfig"]
    assert (found["NetworkMode"], found["PidMode"]) == (f"container:{other}",) * 2
    identifier, _ = bench.create(host(Links=["runs:friend"]))
    name = document(bench.engine, identifier)["Name"]
    assert document(bench.engine, identifier)["HostConfig"]["Links"] == [f"/runs:{name}/friend"]
    bench.loop.run_until_complete(bench.engine.containers.rename("runs", "runs2"))
    assert document(bench.engine, identifier)["HostConfig"]["Links"] == [f"/runs2:{name}/friend"]
    bench.loop.run_until_complete(bench.engine.containers.rename("runs2", "runs"))
    bench.loop.run_until_complete(bench.engine.containers.remove(identifier))


@pytest.mark.row("E-215", "E-218")
@pytest.mark.parametrize(
    ("body", "point"),
    [
        (host(Binds=["/tmp/../tmp/:/x/../y/"]), {"Type": "bind", "Source": "/tmp", "Destination": "/y", "Mode": "", "RW": True, "Propagation": "rprivate"}),
        (host(Binds=["/tmp:/x:ro,rslave"]), {"Type": "bind", "Source": "/tmp", "Destination": "/x", "Mode": "ro,rslave", "RW": False, "Propagation": "rslave"}),
        (mount(Type="bind", Source="/tmp", Target="/x", BindOptions={"NonRecursive": True}), {"Type": "bind", "Source": "/tmp", "Destination": "/x", "Mode": "", "RW": True, "Propagation": "rprivate"}),
        (mount(Type="tmpfs", Target="/x", ReadOnly=True), {"Type": "tmpfs", "Source": "", "Destination": "/x", "Mode": "", "RW": False, "Propagation": ""}),
    ],
)  # fmt: skip
def test_mount_points_are_told_as_docker_tells_them(bench: Bench, body: dict[str, Any], point: dict[str, Any]) -> None:
    assert bench.inspect(body)["Mounts"] == [point]
