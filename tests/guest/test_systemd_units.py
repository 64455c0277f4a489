"""The units of packaging/ under a real systemd, which the virtual machine of `make test-v2` has and may be changed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.engines import busybox_tar
from tests.patience import SLOW
from tests.rootless.people import Person, a_person

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif("GUEST_SCALE" not in os.environ, reason="it would change this machine's units: make test-v2"),
]
PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = Path("/etc/systemd/system")
ONGGID = f"{Path(sys.executable).parent}/onggid"


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + journal()
    return done.stdout


def journal() -> str:
    return subprocess.run(["journalctl", "-u", "onggid*", "-n", "40", "--no-pager"], capture_output=True, text=True, check=False).stdout  # fmt: skip


def onggi(*words: str) -> str:
    program = f"{Path(sys.executable).parent}/onggi"
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + journal()
    return done.stdout


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10 * SLOW
    while not holds():
        assert time.monotonic() < deadline, journal()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def units() -> Iterator[None]:
    """Installed as a package would, but for the place of the program."""
    subprocess.run(["groupadd", "--force", "onggi"], check=True)
    for name in ("onggid.service", "onggid.socket"):
        text = (PACKAGING / name).read_text().replace("/usr/bin/onggid", ONGGID)
        (UNITS / name).write_text(text)
    systemctl("daemon-reload")
    systemctl("start", "onggid.socket")
    yield
    onggi("rm", "-f", *onggi("ps", "-aq").split(), "none-is-fine") if onggi("ps", "-aq") else None
    systemctl("stop", "onggid.service", "onggid.socket")


@pytest.mark.row("P-342")
@pytest.mark.usefixtures("units")
def test_the_first_client_starts_the_engine(tmp_path: Path) -> None:
    socket = Path("/run/onggi.sock")
    assert (oct(socket.stat().st_mode & 0o777), socket.group()) == ("0o660", "onggi")
    assert systemctl("show", "-P", "ActiveState", "onggid.service").strip() == "inactive"
    (tmp_path / "busybox.tar").write_bytes(busybox_tar())
    onggi("import", str(tmp_path / "busybox.tar"), "busybox")
    assert systemctl("show", "-P", "ActiveState", "onggid.service").strip() == "active"


@pytest.mark.row("P-342", "P-344")
@pytest.mark.usefixtures("units")
def test_containers_outlive_a_stop_and_are_adopted(tmp_path: Path) -> None:
    (tmp_path / "busybox.tar").write_bytes(busybox_tar())
    onggi("import", str(tmp_path / "busybox.tar"), "busybox")
    count = "i=0; while :; do i=$((i+1)); echo $i; sleep 1; done"
    onggi("run", "-d", "--name", "counts", "-m", "64m", "busybox", "sh", "-c", count)
    pid = int(onggi("inspect", "--format", "{{.State.Pid}}", "counts"))
    systemctl("stop", "onggid.service")
    assert systemctl("show", "-P", "ActiveState", "onggid.service").strip() == "inactive"
    assert Path(f"/proc/{pid}").exists()
    systemctl("restart", "onggid.service")
    assert int(onggi("inspect", "--format", "{{.State.Pid}}", "counts")) == pid
    before = len(onggi("logs", "counts").split())
    wait_until(lambda: len(onggi("logs", "counts").split()) > before)
    numbers = [int(word) for word in onggi("logs", "counts").split()]
    assert numbers == list(range(1, len(numbers) + 1))
    # systemd has looked at its tree several times by now: limits are where they were.
    systemctl("daemon-reload")
    assert onggi("exec", "counts", "cat", "/sys/fs/cgroup/memory.max").strip() == str(64 << 20)
    onggi("rm", "-f", "counts")


@pytest.mark.row("P-342")
@pytest.mark.usefixtures("units")
def test_a_killed_engine_is_started_again_and_a_reload_is_told(tmp_path: Path) -> None:
    assert tmp_path
    onggi("version")
    systemctl("reload", "onggid.service")
    assert systemctl("show", "-P", "ActiveState", "onggid.service").strip() == "active"
    first = systemctl("show", "-P", "MainPID", "onggid.service").strip()
    os.kill(int(first), 9)
    wait_until(lambda: systemctl("show", "-P", "MainPID", "onggid.service").strip() not in (first, "0"))
    assert onggi("ps", "-q") == ""


@pytest.mark.row("P-123", "P-145", "P-147")
def test_a_users_engine_in_a_delegated_unit_can_limit() -> None:
    """What the user unit says (`Delegate=yes`), by the system's manager."""
    with a_person() as someone:
        program = [someone.python, "-I", "-m", "onggi.api.onggid", "--rootless"]
        words = ["systemd-run", "-q", "--unit", "onggid-user", f"--uid={someone.uid}", f"--gid={someone.gid}", "-p", "Delegate=yes",
                 "-p", "Type=notify", "-p", "KillMode=process", "-E", f"HOME={someone.home}",
                 "-E", f"XDG_RUNTIME_DIR={someone.runtime}", *program]  # fmt: skip
        subprocess.run(words, check=True)
        try:
            someone.log.touch()
            _limits_hold(someone)
        finally:
            subprocess.run(["systemctl", "stop", "onggid-user"], check=False)


def _limits_hold(someone: Person) -> None:
    tar = someone.root / "busybox.tar"
    tar.write_bytes(busybox_tar())
    tar.chmod(0o644)
    someone.onggi("import", str(tar), "busybox")
    assert someone.onggi("info", "--format", "{{.CgroupDriver}}").strip() == "cgroupfs"
    said = someone.onggi("run", "--rm", "-m", "64m", "busybox", "cat", "/sys/fs/cgroup/memory.max")
    assert said.strip() == str(64 << 20)
