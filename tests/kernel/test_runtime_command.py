"""`onggi-runtime`: what runc prints and answers for the same bundle (recorded from runc 1.3)."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.kernel.bundles import Bundle, said

pytestmark = [pytest.mark.root, pytest.mark.row("P-166")]


@pytest.mark.row("CL-179")
def test_run_gives_the_output_and_the_exit_code(bundle: Bundle) -> None:
    ended = bundle.call("run", bundle.make("sh", "-c", "cat; exit 5"), input="some input")
    assert (ended.returncode, ended.stdout, ended.stderr) == (5, "some input", "")
    assert bundle.call("list", "-q").stdout == ""


@pytest.mark.row("CL-178", "CL-179", "CL-180", "CL-182")
def test_a_container_goes_from_created_to_running_to_stopped(bundle: Bundle) -> None:
    container_id = bundle.make("sleep", "60")
    null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [*bundle.command]
    pid_file = bundle.directory / "pid"
    subprocess.run(
        [*command, "create", "--pid-file", str(pid_file), container_id],
        cwd=bundle.directory, check=True, timeout=30, **null,
    )  # fmt: skip
    state = json.loads(bundle.call("state", container_id).stdout)
    assert list(state) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]
    assert (state["status"], state["pid"]) == ("created", int(pid_file.read_text()))
    assert bundle.call("start", container_id).returncode == 0
    assert bundle.status(container_id) == "running"
    again = bundle.call("start", container_id)
    assert (again.returncode, said(again)) == (1, "cannot start an already running container")
    early = bundle.call("delete", container_id)
    assert said(early) == f"cannot delete container {container_id} that is not stopped: running"
    assert bundle.call("kill", container_id, "KILL").returncode == 0
    while bundle.status(container_id) != "stopped":
        pass
    assert said(bundle.call("kill", container_id, "TERM")) == "container not running"
    assert bundle.call("delete", container_id).returncode == 0
    assert said(bundle.call("state", container_id)) == "container does not exist"


@pytest.mark.row("CL-184")
def test_the_list_is_runcs_table_and_json(bundle: Bundle) -> None:
    empty = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    assert bundle.call("list").stdout == empty
    container_id = bundle.start("sleep", "60")
    title, row = bundle.call("list").stdout.splitlines()
    assert title.split() == empty.split()
    assert title.index("STATUS") == row.index("running")
    assert row.split()[0] == container_id
    [entry] = json.loads(bundle.call("list", "-f", "json").stdout)
    assert entry["owner"] == "root"


@pytest.mark.row("CL-183")
def test_exec_runs_beside_the_first_process(bundle: Bundle) -> None:
    container_id = bundle.start("sleep", "60")
    shell = "id -u; id -g; pwd; echo $A; exit 7"
    ended = bundle.call("exec", "-e", "A=b", "-u", "5:6", "--cwd", "/bin", container_id, "sh", "-c", shell)
    assert (ended.returncode, ended.stdout) == (7, "5\n6\n/bin\nb\n")
    missing = bundle.call("exec", container_id, "/nope")
    assert missing.returncode == 255
    assert said(missing) == (
        'exec failed: unable to start container process: exec: "/nope": stat /nope: no such file or directory'
    )


@pytest.mark.row("CL-184", "CL-185")
def test_pause_update_and_ps_act_on_the_cgroup(bundle: Bundle) -> None:
    container_id = bundle.start("sleep", "60")
    assert bundle.call("pause", container_id).returncode == 0
    assert bundle.status(container_id) == "paused"
    refused = bundle.call("exec", container_id, "true")
    assert said(refused) == "exec failed: cannot exec in a paused container (use --ignore-paused to override)"
    assert bundle.call("resume", container_id).returncode == 0
    assert bundle.call("update", "--pids-limit", "20", container_id).returncode == 0
    roots = (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir())
    [limit] = {path.resolve() for root in roots if (path := root / container_id / "pids.max").exists()}
    assert limit.read_text() == "20\n"
    pids = json.loads(bundle.call("ps", "-f", "json", container_id).stdout)
    assert pids == [json.loads(bundle.call("state", container_id).stdout)["pid"]]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["state", "nope"], 1, "container does not exist"),
        (["delete", "nope"], 1, "container does not exist"),
        (["start", "nope"], 1, "container does not exist"),
        (["create", "a/b"], 1, "onggi-runtime create failed: invalid container ID format: invalid character '/'"),
        (
            ["create", "x", "--bundle", "/dev/null/nope"],
            1,
            "onggi-runtime create failed: chdir /dev/null/nope: not a directory",
        ),
        (["nosuch"], 3, "No help topic for 'nosuch'"),
        (["run"], 1, 'onggi-runtime: "run" requires exactly 1 argument(s)'),
        (["spec"], 1, "File config.json exists. Remove it first"),
    ],
)
def test_errors_are_runcs_words_and_codes(bundle: Bundle, words: list[str], code: int, text: str) -> None:
    bundle.make("true")
    ended = bundle.call(*words)
    assert (ended.returncode, said(ended)) == (code, text)


@pytest.mark.row("CL-182")
def test_delete_by_force_of_nothing_is_fine(bundle: Bundle) -> None:
    assert bundle.call("delete", "-f", "nope").returncode == 0


def test_a_program_that_is_not_there_leaves_nothing(bundle: Bundle) -> None:
    ended = bundle.call("run", bundle.make("nope"))
    assert ended.returncode == 1
    assert said(ended) == (
        "onggi-runtime run failed: unable to start container process: error during container init: "
        'exec: "nope": executable file not found in $PATH'
    )
    assert bundle.call("list", "-q").stdout == ""


@pytest.mark.row("CL-177")
def test_errors_can_be_had_as_json(bundle: Bundle) -> None:
    told = json.loads(bundle.call("--log-format", "json", "state", "nope").stderr)
    assert (told["level"], told["msg"]) == ("error", "container does not exist")


def test_the_terminal_is_sent_to_the_console_socket(bundle: Bundle) -> None:
    container_id = bundle.make("sh", "-c", "stty size; echo done", terminal=True, consoleSize={"height": 7, "width": 9})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bundle.directory / "console"))
        listener.listen()
        ended = bundle.call("run", "-d", "--console-socket", str(bundle.directory / "console"), container_id)
        assert ended.returncode == 0, ended.stderr
        connection, _ = listener.accept()
        name, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
        connection.close()
    [master] = array.array("i", ancillary[0][2])
    assert name == b"/dev/ptmx"
    shown = b""
    while b"done" not in shown:
        shown += os.read(master, 1000)
    assert shown.startswith(b"7 9\r\n")
    os.close(master)


def test_a_terminal_without_a_socket_cannot_be_left_alone(bundle: Bundle) -> None:
    ended = bundle.call("run", "-d", bundle.make("sh", terminal=True))
    text = "cannot allocate tty if runtime will detach without setting console socket (use --console-socket)"
    assert said(ended) == text


def test_preserved_descriptors_reach_the_process_and_no_others(bundle: Bundle) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    command = [*bundle.command, "run"]
    container_id = bundle.make("sh", "-c", "echo kept >&3; ls /proc/self/fd")

    def third() -> None:
        os.dup2(writer, 3)

    ended = subprocess.run(
        [*command, "--preserve-fds", "1", container_id],
        cwd=bundle.directory, capture_output=True, text=True, timeout=30, check=False, preexec_fn=third,
        close_fds=False,
    )  # fmt: skip
    os.close(writer)
    assert os.read(reader, 100) == b"kept\n"
    os.close(reader)
    # 4 is the directory that ls itself reads.
    assert ended.stdout.split() == ["0", "1", "2", "3", "4"]


def test_hooks_are_told_the_state(bundle: Bundle) -> None:
    config = json.loads((bundle.directory / "config.json").read_text())
    told = bundle.directory / "told"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat >> {told}; echo >> {told}"]}
    config["hooks"] = {"poststart": [hook], "poststop": [hook]}
    (bundle.directory / "config.json").write_text(json.dumps(config))
    container_id = bundle.make("true")
    assert bundle.call("run", container_id).returncode == 0
    states = [json.loads(line) for line in told.read_text().splitlines()]
    assert [(state["id"], state["status"]) for state in states] == [
        (container_id, "running"),
        (container_id, "stopped"),
    ]


@pytest.mark.row("S-23")
def test_modules_lying_in_the_working_directory_are_not_imported(bundle: Bundle) -> None:
    for name in ("json.py", "msgspec.py", "sitecustomize.py", "onggi.py"):
        (bundle.directory / name).write_text("raise SystemExit(99)")
    environment = {**os.environ, "PYTHONPATH": str(bundle.directory), "PYTHONSTARTUP": "x"}
    assert bundle.call("run", bundle.make("true"), env=environment).returncode == 0


@pytest.mark.row("CL-188")
def test_features_name_what_there_is(bundle: Bundle) -> None:
    features = json.loads(bundle.call("features").stdout)
    assert features["ociVersionMax"] == "1.3.0"
    assert features["linux"]["cgroup"] == {
        "v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True,
    }  # fmt: skip
    assert {"user", "time"} <= set(features["linux"]["namespaces"])
    assert {"rro", "ridmap", "tmpcopyup", "rstrictatime", "unbindable"} <= set(features["mountOptions"])
    assert "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" in features["linux"]["seccomp"]["supportedFlags"]
    assert features["linux"]["mountExtensions"] == {"idmap": {"enabled": True}}
    assert features["linux"]["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
    assert "CAP_BPF" in features["linux"]["capabilities"]
    assert features["potentiallyUnsafeConfigAnnotations"] == ["run.oci."]
