"""Flags of `onggi-runtime` beyond the daily ones: what they do, as runc or crun has it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.kernel.bundles import Bundle, said

pytestmark = [pytest.mark.root]


def _limit(container_id: str, name: str) -> str:
    [path] = Path("/sys/fs/cgroup").glob(f"*/{container_id}/{name}")
    return path.read_text().strip()


@pytest.mark.row("CL-177")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--log-format", "xml", "list"], "invalid log-format: xml"),
        (["--log", "pigeon:coop", "list"], "unknown log type 'pigeon'"),
        (["--cgroup-manager", "none", "run"], "unknown cgroup manager 'none'"),
        (["--systemd-cgroup", "run"], 'expected cgroupsPath to be of format "slice:prefix:name"'),
    ],
)
def test_global_flags_that_cannot_be_followed_are_refused(bundle: Bundle, words: list[str], text: str) -> None:
    bundle.change_linux(cgroupsPath="/plain")
    container_id = bundle.make("true")
    ended = bundle.call(*words, *([container_id] if words[-1] == "run" else []))
    assert ended.returncode == 1
    assert text in ended.stderr.replace('\\"', '"')


@pytest.mark.row("CL-177")
def test_a_log_file_gets_errors_in_the_format_that_engines_read(bundle: Bundle) -> None:
    log = bundle.directory / "log"
    for target in (str(log), f"file:{log}"):
        ended = bundle.call("--log", target, "--log-format", "json", "state", "nope")
        assert ended.stderr == "container does not exist\n"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["level"], line["msg"]) for line in lines] == [("error", "container does not exist")] * 2
    assert bundle.call("--debug", "--log", str(log), "list", "-q").returncode == 0
    assert "level=debug" in log.read_text().splitlines()[-1]


@pytest.mark.row("CL-177", "CL-199")
def test_systemds_cgroup_path_is_read_and_made(bundle: Bundle) -> None:
    container_id = bundle.make("cat", "/proc/self/cgroup")
    bundle.change_linux(cgroupsPath=f"onggi-test.slice:pre:{container_id}")
    ended = bundle.call("--systemd-cgroup", "run", container_id)
    assert f":/onggi.slice/onggi-test.slice/pre-{container_id}.scope\n" in ended.stdout, ended.stderr
    for directory in Path("/sys/fs/cgroup").glob("*/onggi.slice/onggi-test.slice"):
        directory.rmdir()
        directory.parent.rmdir()


@pytest.mark.row("CL-177")
def test_without_a_cgroup_manager_the_container_stays_in_its_makers_group(bundle: Bundle) -> None:
    config = json.loads((bundle.directory / "config.json").read_text())
    bundle.change(mounts=[mount for mount in config["mounts"] if mount["type"] != "cgroup"])
    ended = bundle.call("--cgroup-manager", "disabled", "run", bundle.make("cat", "/proc/self/cgroup"))
    assert ended.stdout == Path("/proc/self/cgroup").read_text()


@pytest.mark.row("CL-178")
def test_another_configuration_and_a_pid_file_of_the_callers_directory(bundle: Bundle, tmp_path: Path) -> None:
    container_id = bundle.make("sleep", "60")
    (bundle.directory / "config.json").rename(bundle.directory / "other.json")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    words = ("run", "-d", "-b", "..", "-f", "other.json", "--pid-file", "pid", container_id)
    command = [*bundle.command, *words]
    null = subprocess.DEVNULL
    subprocess.run(command, cwd=elsewhere, stdin=null, stdout=null, stderr=null, check=True, timeout=30)
    state = json.loads(bundle.call("state", container_id).stdout)
    assert (elsewhere / "pid").read_text() == str(state["pid"])
    # The spec is the one of the making, whatever becomes of the bundle's.
    (bundle.directory / "other.json").unlink()
    assert bundle.call("exec", container_id, "echo", "still").stdout == "still\n"


@pytest.mark.row("CL-178")
def test_without_a_pivot_nothing_of_the_hosts_mounts_is_left_below_the_root(bundle: Bundle) -> None:
    """The host's root itself is: where it is a ramdisk there is no other way."""
    ended = bundle.call("run", "--no-pivot", bundle.make("sh", "-c", "ls -d /bin /home; cat /proc/self/mountinfo"))
    listed, *lines = ended.stdout.splitlines()
    assert listed == "/bin"
    places = [line.split()[4] for line in lines]
    assert places.count("/") == 1
    assert set(places) <= {"/", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"} | {
        place for place in places if place.startswith(("/proc", "/sys"))
    }
    assert "read-only" in bundle.call("run", "--no-pivot", bundle.make("sh", "-c", "echo >/x")).stderr.lower()


@pytest.mark.row("CL-178", "CL-207")
def test_sockets_that_were_passed_are_the_containers(bundle: Bundle) -> None:
    container_id = bundle.make("sh", "-c", "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; ls /proc/self/fd")
    with socket.socket() as listener:

        def third() -> None:
            os.dup2(listener.fileno(), 3)

        ended = subprocess.run(
            [*bundle.command, "run", container_id],
            cwd=bundle.directory, env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}, preexec_fn=third,
            close_fds=False, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert ended.stdout.split() == ["1", "1", "web", "0", "1", "2", "3", "4"], ended.stderr


@pytest.mark.row("CL-183")
def test_exec_takes_a_process_of_a_file(bundle: Bundle) -> None:
    container_id = bundle.start("sleep", "60")
    process = {"args": ["sh", "-c", "id -u; id -G; pwd; echo $A"], "cwd": "/bin", "env": ["A=b", "PATH=/bin"]}
    process |= {"user": {"uid": 7, "gid": 8, "additionalGids": [9]}}
    (bundle.directory / "process.json").write_text(json.dumps(process))
    assert bundle.call("exec", "-p", "process.json", container_id).stdout == "7\n8 9\n/bin\nb\n"


@pytest.mark.row("CL-183")
def test_exec_flags_change_the_containers_own_process(bundle: Bundle) -> None:
    container_id = bundle.start("sleep", "60")
    script = "id -G; echo $TERM $PATH; grep -e CapEff -e NoNewPrivs /proc/self/status"
    flags = ("-g", "5", "-g", "6,7", "-e", "TERM=dumb", "-c", "CAP_SYS_ADMIN", "--no-new-privs")
    ended = bundle.call("exec", *flags, container_id, "sh", "-c", script)
    groups, terminal, caps, _ = ended.stdout.splitlines()
    assert groups == "0 5 6 7"
    assert terminal.split()[0] == "dumb"
    assert int(caps.split()[1], 16) & 1 << 21
    refused = bundle.call("exec", "-c", "CAP_NONE", container_id, "true")
    assert (refused.returncode, said(refused)) == (255, "unknown capability 'CAP_NONE'")


@pytest.mark.row("CL-183")
def test_exec_enters_a_group_below_the_containers_and_none_beside_it(bundle: Bundle) -> None:
    container_id = bundle.start("sleep", "60")
    for name in ("memory", "freezer"):
        Path(f"/sys/fs/cgroup/{name}/{container_id}/below").mkdir()
    ended = bundle.call("exec", "--cgroup", "below", container_id, "cat", "/proc/self/cgroup")
    assert f"/{container_id}/below\n" in ended.stdout, ended.stderr
    for path in ("../other", "below/../../other"):
        refused = bundle.call("exec", "--cgroup", path, container_id, "true")
        assert said(refused) == f"invalid cgroup path '{path}': `..` components are not allowed"
    assert "no such group" in bundle.call("exec", "--cgroup", "missing", container_id, "true").stderr


@pytest.mark.row("CL-181", "CL-182")
def test_kill_and_delete_reach_all_whose_id_matches(bundle: Bundle) -> None:
    first, second = bundle.start("sleep", "60"), bundle.start("sleep", "60")
    pattern = f"^({first}|{second})$"
    assert bundle.call("kill", "--regex", pattern, "KILL").returncode == 0
    while {bundle.status(first), bundle.status(second)} != {"stopped"}:
        pass
    assert bundle.call("delete", "--regex", pattern).returncode == 0
    assert bundle.call("list", "-q").stdout == ""
    assert "invalid regular expression" in bundle.call("delete", "--regex", "(").stderr


@pytest.mark.row("CL-181")
def test_without_an_own_pid_namespace_kill_ends_every_process(bundle: Bundle) -> None:
    config = json.loads((bundle.directory / "config.json").read_text())
    bundle.change_linux(namespaces=[one for one in config["linux"]["namespaces"] if one["type"] != "pid"])
    container_id = bundle.start("sh", "-c", "sleep 70 & sleep 60")
    while len(pids := json.loads(bundle.call("ps", "-f", "json", container_id).stdout)) < 2:
        pass
    assert bundle.call("kill", container_id, "KILL").returncode == 0
    while bundle.status(container_id) != "stopped" or any(Path(f"/proc/{pid}/cwd").exists() for pid in pids):
        pass


@pytest.mark.row("CL-185")
def test_update_takes_a_file_from_stdin_and_flags(bundle: Bundle) -> None:
    container_id = bundle.start("sleep", "60")
    resources = {"memory": {"limit": 64 << 20}, "cpu": {"shares": 512}, "pids": {"limit": 30}}
    assert bundle.call("update", "-r", "-", container_id, input=json.dumps(resources)).returncode == 0
    shown = [_limit(container_id, name) for name in ("memory.limit_in_bytes", "cpu.shares", "pids.max")]
    assert shown == [str(64 << 20), "512", "30"]
    flags = ("--memory", str(32 << 20), "--cpu-quota", "50000", "--cpu-period", "100000", "--kernel-memory", "5")
    assert bundle.call("update", *flags, container_id).returncode == 0
    assert _limit(container_id, "memory.limit_in_bytes") == str(32 << 20)
    assert _limit(container_id, "cpu.cfs_quota_us") == "50000"
    assert "Intel RDT" in bundle.call("update", "--l3-cache-schema", "L3:0=f", container_id).stderr
    assert "parse error" in bundle.call("update", "--memory", "much", container_id).stderr


@pytest.mark.row("CL-186")
def test_events_are_runcs_lines(bundle: Bundle) -> None:
    container_id = bundle.start("sleep", "4")
    told = json.loads(bundle.call("events", "--stats", container_id).stdout)
    assert (told["type"], told["id"]) == ("stats", container_id)
    assert told["data"]["cpu"]["usage"]["total"] > 0
    assert told["data"]["memory"]["usage"]["usage"] > 0
    assert told["data"]["pids"]["current"] == 1
    lines = bundle.call("events", "--interval", "200ms", container_id).stdout.splitlines()
    assert len(lines) >= 2
    assert {json.loads(line)["type"] for line in lines} == {"stats"}
    assert said(bundle.call("events", container_id)) == f"container with id {container_id} is not running"


@pytest.mark.row("CL-187")
@pytest.mark.parametrize("command", ["checkpoint", "restore"])
def test_checkpoints_are_refused_and_nothing_is_touched(bundle: Bundle, command: str) -> None:
    container_id = bundle.start("sleep", "60")
    ended = bundle.call(command, "--image-path", "x", "--tcp-established", container_id)
    assert ended.returncode == 1
    assert "checkpoint and restore are not supported" in said(ended)
    assert bundle.status(container_id) == "running"


@pytest.mark.row("CL-188")
def test_the_rootless_example_maps_one_user(bundle: Bundle) -> None:
    assert bundle.call("spec", "--rootless", "-f", "rootless.json").returncode == 0
    config = json.loads((bundle.directory / "rootless.json").read_text())
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "size": 1, "hostID": os.geteuid()}]
    assert {"type": "user"} in config["linux"]["namespaces"]
    assert "resources" not in config["linux"]


@pytest.mark.row("CL-189")
@pytest.mark.parametrize("name", [".", "..", ".hidden", "a b", "a/b", "ä"])
def test_ids_are_words(bundle: Bundle, name: str) -> None:
    bundle.make("true")
    assert "invalid container ID format" in said(bundle.call("run", name))


@pytest.mark.row("CL-189")
def test_of_many_makers_of_one_id_one_succeeds(bundle: Bundle) -> None:
    container_id = bundle.make("true")
    null = subprocess.DEVNULL
    makers = [
        subprocess.Popen(
            [*bundle.command, "create", container_id], cwd=bundle.directory, stdin=null, stdout=null, stderr=null
        )
        for _ in range(6)
    ]
    assert sorted(maker.wait(60) for maker in makers) == [0, 1, 1, 1, 1, 1]
    starts = [subprocess.Popen([*bundle.command, "start", container_id], stderr=null) for _ in range(4)]
    assert sorted(start.wait(60) for start in starts) == [0, 1, 1, 1]


@pytest.mark.row("CL-195")
def test_a_container_whose_poststart_hook_fails_is_ended_and_deleted(bundle: Bundle) -> None:
    bundle.change(hooks={"poststart": [{"path": "/bin/false"}]})
    container_id = bundle.make("sleep", "60")
    null = subprocess.DEVNULL
    command = [*bundle.command, "create", container_id]
    subprocess.run(command, cwd=bundle.directory, stdin=null, stdout=null, stderr=null, check=True, timeout=30)
    assert bundle.call("start", container_id).returncode == 1
    assert said(bundle.call("state", container_id)) == "container does not exist"


@pytest.mark.row("CL-190")
def test_annotations_say_where_hooks_write_and_whose_groups_stay(bundle: Bundle) -> None:
    out = bundle.directory / "out"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo said"]}
    annotations = {"run.oci.hooks.stdout": str(out), "run.oci.keep_original_groups": "1"}
    bundle.change(hooks={"createRuntime": [hook]}, annotations=annotations)
    container_id = bundle.make("id", "-G")

    def groups() -> None:
        os.setgroups([7, 8])

    command = [*bundle.command, "run", container_id]
    ended = subprocess.run(
        command, cwd=bundle.directory, preexec_fn=groups, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.stdout, out.read_text()) == ("0 7 8\n", "said\n"), ended.stderr


@pytest.mark.row("CL-203")
def test_an_unknown_system_call_is_an_error_only_for_who_asks_for_it(bundle: Bundle) -> None:
    rule = {"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}
    bundle.change_linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    assert bundle.call("run", bundle.make("true")).returncode == 0
    bundle.change(annotations={"run.oci.seccomp_fail_unknown_syscall": "1"})
    assert (
        said(bundle.call("run", bundle.make("true")))
        == "onggi-runtime run failed: seccomp: unknown system call 'no_such_call'"
    )
