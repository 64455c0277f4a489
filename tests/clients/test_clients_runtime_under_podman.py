"""podman with onggi-runtime in place of its own runtime: what people run daily works unchanged."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.row("P-166", "CL-178", "CL-179", "CL-183")]

RUNTIME = Path(sys.executable).with_name("onggi-runtime")
IMAGE = "localhost/onggi-test:latest"
APPLETS = "sh true sleep cat echo id pwd tty touch ls ip grep ps mkdir mount hostname df wc head tr".split()
# podman's own limits are above what a machine without CAP_SYS_RESOURCE lets anybody set.
CONTAINERS_CONF = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
"""


class Podman:
    """A podman with storage, state and configuration of its own."""

    def __init__(self, directory: Path) -> None:
        configuration = directory / "containers.conf"
        configuration.write_text(CONTAINERS_CONF)
        self._words = [
            "podman", f"--runtime={RUNTIME}", f"--root={directory}/data", f"--runroot={directory}/run",
            f"--tmpdir={directory}/tmp", f"--network-config-dir={directory}/networks", "--storage-driver=vfs",
        ]  # fmt: skip
        self._environment = {
            **os.environ, "CONTAINERS_CONF": str(configuration), "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }  # fmt: skip

    def __call__(self, *words: str, given: str = "", timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._words, *words],
            env=self._environment, input=given, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def sh(self, *options: str, script: str) -> subprocess.CompletedProcess[str]:
        return self("run", "--rm", "--network=none", *options, IMAGE, "sh", "-c", script)

    def at_terminal(self, *words: str, typed: bytes) -> tuple[int, bytes]:
        """Exit code and what was shown."""
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [*self._words, *words],
            env=self._environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        os.write(ours, typed)
        shown, end = b"", time.monotonic() + 60
        while select.select([ours], [], [], max(0, end - time.monotonic()))[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # EIO: it is closed
                break
        os.close(ours)
        return process.wait(30), shown


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    directory = tmp_path_factory.mktemp("podman")
    made = Podman(directory)
    root = directory / "rootfs"
    for name in ("bin", "tmp", "etc", "mnt"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    archive = shutil.make_archive(str(directory / "image"), "tar", root)
    imported = made("import", archive, IMAGE)
    assert imported.returncode == 0, imported.stderr
    yield made
    made("rm", "-f", "-t", "0", "--all")
    assert made("ps", "-aq").stdout == ""


CASES = {
    "limits": (
        ["--memory=64m", "--cpus=0.5", "--pids-limit=50", "--shm-size=8m", "--oom-score-adj=500",
         "--ulimit=nofile=100:200", "--ulimit=nproc=4096", "--sysctl=net.ipv4.ip_unprivileged_port_start=77"],
        """cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max
        df -k /dev/shm | grep -o 8192 | head -1
        cat /proc/self/oom_score_adj; ulimit -n; cat /proc/sys/net/ipv4/ip_unprivileged_port_start""",
        "67108864 50000 50 8192 500 100 77",
    ),
    "identity": (
        ["--user=12:34", "--hostname=name", "--workdir=/tmp", "-e", "A=b"],
        "id -u; id -g; hostname; pwd; echo $A; ip -o link | wc -l",
        "12 34 name /tmp b 1",
    ),
    "confinement": (
        ["--cap-drop=all", "--cap-add=net_bind_service", "--security-opt=no-new-privileges", "--read-only", "--tmpfs=/t"],
        "grep -o '0400$' /proc/self/status; grep -e NoNewPrivs -e Seccomp: /proc/self/status; touch /a || touch /t/a && echo ok",
        "0400 0400 0400 NoNewPrivs: 1 Seccomp: 2 ok",
    ),
    "no confinement": (
        ["--privileged", "--pid=host"], "mount -t tmpfs t /mnt && test $$ != 1 && grep Seccomp: /proc/self/status", "Seccomp: 0",
    ),
    "a terminal": (["-t"], "tty", "/dev/pts/0"),
    "a user namespace": (
        ["-t", "--uidmap=0:200000:5000", "--gidmap=0:200000:5000", "--hostname=name"],
        "tty; id -u; cat /proc/self/uid_map; hostname; echo x >/mnt/x && ls /mnt", "/dev/pts/0 0 0 200000 5000 name x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_options_of_a_run_hold_inside(podman: Podman, case: str) -> None:
    options, script, shown = CASES[case]
    ended = podman.sh(*options, script=script)
    assert (" ".join(ended.stdout.split()), ended.returncode) == (shown, 0), ended.stderr


def test_output_input_and_exit_codes_pass(podman: Podman) -> None:
    ended = podman.sh(script="echo out; echo err >&2; exit 3")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "out\n", "err\n")
    much = "x" * 200_000
    assert podman("run", "--rm", "-i", "--network=none", IMAGE, "cat", given=much).stdout == much
    assert podman("run", "--rm", "--network=none", IMAGE, "/nope").returncode == 127
    assert podman("run", "--rm", "--network=none", IMAGE, "/etc").returncode == 126


def test_a_person_at_a_terminal_gets_a_shell(podman: Podman) -> None:
    words = ("run", "--rm", "-it", "--network=none", IMAGE, "sh")
    code, shown = podman.at_terminal(*words, typed=b"echo a$((1+1))b; exit 6\n")
    assert (code, b"a2b" in shown) == (6, True)


def test_volumes_keep_what_is_written(podman: Podman) -> None:
    name = f"onggi-test-{uuid.uuid4().hex[:8]}"
    assert podman.sh("-v", f"{name}:/v", script="echo data >/v/f").returncode == 0
    again = podman.sh("-v", f"{name}:/v:ro", script="cat /v/f; touch /v/g")
    assert again.stdout == "data\n"
    assert "Read-only" in again.stderr
    podman("volume", "rm", name)


@pytest.fixture
def running(podman: Podman) -> Iterator[str]:
    """A container that says bye and exits with 9 at SIGTERM."""
    name = f"onggi-test-{uuid.uuid4().hex[:8]}"
    script = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.1; done"
    started = podman("run", "-d", "--name", name, "--network=none", IMAGE, "sh", "-c", script)
    assert started.returncode == 0, started.stderr
    while "up" not in podman("logs", name).stdout:
        pass
    yield name
    podman("rm", "-f", "-t", "0", name)


def test_exec_takes_user_directory_environment_and_terminal(podman: Podman, running: str) -> None:
    ended = podman("exec", "-u", "5", "-w", "/tmp", "-e", "A=b", running, "sh", "-c", "id -u; pwd; echo $A; exit 4")
    assert (ended.returncode, ended.stdout) == (4, "5\n/tmp\nb\n")
    assert podman("exec", "-i", running, "cat", given="abc").stdout == "abc"
    assert "/dev/pts/" in podman("exec", "-t", running, "tty").stdout
    assert podman("exec", running, "/nope").returncode == 127


def test_pause_update_and_namespaces_of_another_reach_a_running_one(podman: Podman, running: str) -> None:
    def status() -> str:
        return podman("inspect", "-f", "{{.State.Status}}", running).stdout.strip()

    assert podman("pause", running).returncode == 0
    assert status() == "paused"
    assert podman("unpause", running).returncode == 0
    assert status() == "running"
    words = ("run", "--rm", f"--network=container:{running}", f"--pid=container:{running}", IMAGE, "ps", "-o", "args")
    assert "trap" in podman(*words).stdout


def test_a_stopped_container_tells_its_exit_code_and_starts_again(podman: Podman, running: str) -> None:
    assert podman("stop", "-t", "10", running).returncode == 0
    assert podman("inspect", "-f", "{{.State.ExitCode}}", running).stdout == "9\n"
    assert podman("logs", running).stdout == "up\nbye\n"
    assert podman("start", running).returncode == 0
    assert podman("kill", "-s", "KILL", running).returncode == 0
    assert podman("wait", running).stdout == "137\n"
    assert podman("rm", running).returncode == 0


def test_a_pod_shares_its_namespaces(podman: Podman) -> None:
    name = f"onggi-test-{uuid.uuid4().hex[:8]}"
    created = podman(
        "pod", "create", "--name", name, "--infra-image", IMAGE, "--infra-command", "/bin/sleep 100", "--network=none"
    )
    assert created.returncode == 0, created.stderr
    try:
        assert podman("run", "--rm", "--pod", name, IMAGE, "hostname").stdout == f"{name}\n"
    finally:
        podman("pod", "rm", "-f", "-t", "0", name)
