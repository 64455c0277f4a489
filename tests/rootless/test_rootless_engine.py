"""`onggid --rootless`: an ordinary user's engine, with the kernel's own refusal of everything else."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.kernel import cgroups
from tests.engine.engines import busybox_tar
from tests.patience import SLOW
from tests.rootless.people import Person, a_person

pytestmark = pytest.mark.root
ADDRESS = f"10.66.{os.getpid() % 250}.1"
SERVER = "mkdir /www; echo hello >/www/index.html; exec httpd -f -vv -p 80 -h /www"


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    """With an engine and an image."""
    with a_person() as made:
        made.start()
        tar = made.root / "busybox.tar"
        tar.write_bytes(busybox_tar())
        tar.chmod(0o644)
        made.onggi("import", str(tar), "busybox")
        yield made


@pytest.fixture
def address() -> Iterator[str]:
    """One of this machine's that isn't a loopback's."""
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    try:
        yield ADDRESS
    finally:
        subprocess.run(["ip", "address", "del", f"{ADDRESS}/32", "dev", "lo"], check=True)


@pytest.fixture
def web(person: Person) -> Iterator[int]:
    """A web server's published port."""
    person.onggi("run", "-d", "--name", "web", "-p", "80", "busybox", "sh", "-c", SERVER)
    try:
        port = int(person.onggi("port", "web", "80/tcp").splitlines()[0].rpartition(":")[2])
        wait_until(lambda: "hello" in get("127.0.0.1", port))
        yield port
    finally:
        person.onggi("rm", "-f", "web")


def get(address: str, port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/", timeout=5 * SLOW) as answer:
            text: str = answer.read().decode()
            return text
    except OSError as error:
        return str(error)


def wait_until(holds: object) -> None:
    deadline = time.monotonic() + 20 * SLOW
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.row("S-39", "P-145", "P-146")
def test_root_of_a_container_is_the_user_on_the_host(person: Person) -> None:
    person.onggi("run", "-d", "--name", "one", "busybox", "sleep", "600")
    pid = person.onggi("inspect", "--format", "{{.State.Pid}}", "one").strip()
    assert os.stat(f"/proc/{pid}").st_uid == person.uid
    assert person.onggi("exec", "one", "id", "-u").strip() == "0"
    assert person.onggi("exec", "-u", "1000", "one", "id", "-u").strip() == "1000"
    # Without being told: the user's own engine comes before root's.
    assert person.run("onggi", "ps", "-q").stdout == person.onggi("ps", "-q") != ""
    info = person.onggi("info", "--format", "{{.SecurityOptions}} {{.DockerRootDir}}")
    assert "name=rootless" in info
    assert str(person.home / ".local/share/onggi") in info
    assert person.run("onggi", "doctor").returncode == 0
    person.onggi("rm", "-f", "one")


@pytest.mark.row("S-39")
def test_what_the_user_may_not_do_no_container_may(person: Person) -> None:
    shadow = person.run("cat", "/etc/shadow")
    assert shadow.returncode != 0
    inside = ["-v", "/etc:/host", "busybox", "sh", "-c"]
    for rights in ([], ["--privileged"]):
        said = person.onggi("run", "--rm", *rights, *inside, "cat /host/shadow 2>&1; touch /host/x 2>&1; id -u")
        assert said.count("Permission denied") == 2, said
        assert said.endswith("0\n")
    # A node for a disk of the host's can't be made, with all rights that a container can have.
    node = "mknod /tmp/disk b 254 0 2>&1 || echo refused; mount -t tmpfs none /tmp && echo mounted"
    assert person.onggi("run", "--rm", "--privileged", "busybox", "sh", "-c", node).endswith("refused\nmounted\n")


@pytest.mark.row("I-038", "P-146")
def test_files_of_other_owners_and_whiteouts_survive_a_commit(person: Person) -> None:
    script = "mkdir /d && touch /d/f && chown 33:44 /d/f && rm /data/seed && rm -r /var && mkdir /var"
    person.onggi("run", "--name", "made", "busybox", "sh", "-c", script)
    person.onggi("commit", "made", "changed")
    person.onggi("rm", "made")
    look = "stat -c %u:%g /d/f; ls /data /var"
    assert person.onggi("run", "--rm", "changed", "sh", "-c", look).split() == ["33:44", "/data:", "/var:"]
    upper = [path for path in person.home.rglob("layers/*/diff/d/f") if not path.is_symlink()]
    assert {path.stat().st_uid for path in upper} == {person.subordinate.start + 32}


@pytest.mark.row("F-330")
def test_an_image_is_built(person: Person) -> None:
    context = person.root / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM busybox\nCOPY word /word\nRUN chown 5:6 /word && id -u >/who && rm /data/seed\nUSER 1000\n"
    )
    (context / "word").write_text("word\n")
    context.chmod(0o755)
    person.onggi("build", "-t", "built", str(context))
    look = "id -u; stat -c %u:%g /word; cat /who; ls /data"
    assert person.onggi("run", "--rm", "built", "sh", "-c", look).split() == ["1000", "5:6", "0"]


@pytest.mark.row("B-39", "P-082", "P-054")
def test_a_container_sees_who_asks(person: Person, web: int, address: str) -> None:
    assert get(address, web) == "hello\n"
    wait_until(lambda: f"[::ffff:{address}]" in person.run("onggi", "-H", person.host, "logs", "web").stderr)


@pytest.mark.row("P-082")
def test_datagrams_go_both_ways(person: Person, address: str) -> None:
    script = "import socket; s = socket.socket(type=2); s.bind(('', 5000)); d, a = s.recvfrom(99); s.sendto(b'got ' + d + str(a[0]).encode(), a)"
    libraries = [word for path in ("/usr", "/lib", "/lib64") for word in ("-v", f"{path}:{path}:ro")]
    person.onggi(
        "run", "-d", "--name", "udp", "-p", "5000/udp", *libraries, "busybox", "/usr/bin/python3", "-c", script
    )
    port = int(person.onggi("port", "udp").splitlines()[0].rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        answer = b""
        for _ in range(40):
            client.sendto(b"word\n", (address, port))
            try:
                answer = client.recv(100)
                break
            except (TimeoutError, ConnectionRefusedError):
                continue
    person.onggi("rm", "-f", "udp")
    assert answer == b"got word\n" + address.encode()


@pytest.mark.row("S-39")
def test_a_low_port_is_refused_clearly(person: Person) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("this machine lets everybody have low ports")
    said = person.refused("run", "--rm", "-p", "81:80", "busybox", "true")
    assert "failed to bind host port for 0.0.0.0:81:80/tcp: permission denied" in said


@pytest.mark.row("P-079", "P-082")
def test_containers_and_their_ports_outlive_the_engine(person: Person, web: int) -> None:
    # The relay's end of it stays open through the engine's end.
    with socket.create_connection(("127.0.0.1", web), 10 * SLOW) as standing:
        person.stop()
        assert get("127.0.0.1", web) == "hello\n"
        person.start()
        assert person.onggi("ps", "--format", "{{.Names}}").strip() == "web"
        standing.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200" in standing.recv(100)
    assert person.onggi("exec", "web", "echo", "here") == "here\n"


def test_a_port_is_free_again_when_its_container_is_gone(person: Person) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        person.onggi("run", "--rm", "-p", f"{port}:80", "busybox", "true")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", port))
        taken.listen()
        assert "address already in use" in person.refused("run", "--rm", "-p", f"{port}:80", "busybox", "true")


@pytest.mark.row("P-083")
def test_nothing_of_it_is_in_the_hosts_network_or_mounts(person: Person, web: int) -> None:
    assert web
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "veth" not in links or "onggi0" not in links
    assert str(person.home) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.row("P-082")
def test_containers_reach_the_outside(person: Person, address: str) -> None:
    """Through pasta or slirp4netns: as far as the host's own network, and its name servers, go."""
    if os.stat("/dev/net/tun").st_mode & 0o006 != 0o006:
        assert "may not open /dev/net/tun" in person.log.read_text()
        return
    if subprocess.run(["ip", "route", "show", "default"], capture_output=True, text=True, check=True).stdout == "":
        pytest.skip("this machine has no way out itself")
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        person.onggi("run", "-d", "--name", "out", "busybox", "sh", "-c", f"echo word | nc {address} {port}")
        server.settimeout(20 * SLOW)
        client, _ = server.accept()
        with client:
            assert client.recv(10) == b"word\n"
    person.onggi("rm", "-f", "out")


@pytest.mark.row("P-082")
def test_slirp4netns_stands_in_where_pasta_is_not_installed(address: str) -> None:
    if os.stat("/dev/net/tun").st_mode & 0o006 != 0o006:
        pytest.skip("an ordinary user may not open /dev/net/tun here: make test-v2")
    with a_person() as someone, socket.create_server((address, 0)) as server:
        programs = someone.root / "bin"
        programs.mkdir()
        for name in ("newuidmap", "newgidmap", "slirp4netns"):
            (programs / name).symlink_to(f"/usr/bin/{name}")
        someone.path = str(programs)
        someone.start()
        tar = someone.root / "busybox.tar"
        tar.write_bytes(busybox_tar())
        tar.chmod(0o644)
        someone.onggi("import", str(tar), "busybox")
        someone.onggi("run", "-d", "busybox", "sh", "-c", f"echo word | nc {address} {server.getsockname()[1]}")
        server.settimeout(20 * SLOW)
        client, _ = server.accept()
        with client:
            assert client.recv(10) == b"word\n"
        assert any(line.startswith("slirp4netns") for line in someone.processes())


def test_limits_without_a_cgroup_are_refused_and_named(person: Person) -> None:
    if person.onggi("info", "--format", "{{.CgroupDriver}}").strip() != "none":
        pytest.skip("the user has a cgroup here")
    assert "no cgroup" in person.refused("run", "--name", "none", "-m", "50m", "busybox", "true")
    person.onggi("rm", "none")
    person.onggi("run", "-d", "--name", "one", "busybox", "sleep", "60")
    assert "no cgroup" in person.refused("pause", "one")
    person.onggi("rm", "-f", "one")


@pytest.mark.row("P-123", "P-147")
def test_limits_hold_in_a_delegated_cgroup() -> None:
    if not cgroups.is_unified():
        pytest.skip("v1 can't be delegated: see make test-v2")
    with a_person() as someone:
        directory = Path(f"/sys/fs/cgroup/{someone.name}")
        directory.mkdir()
        # Who delegates has them to give: systemd does this for a unit with Delegate=yes.
        Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+cpu +cpuset +io +memory +pids")
        for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "."):
            os.chown(directory / name, someone.uid, someone.gid)
        try:
            someone.start(into=str(directory))
            tar = someone.root / "busybox.tar"
            tar.write_bytes(busybox_tar())
            tar.chmod(0o644)
            someone.onggi("import", str(tar), "busybox")
            assert someone.onggi("info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}}").strip() == "cgroupfs 2"
            limits = ["-m", "64m", "--pids-limit", "20", "--cpus", "0.5"]
            shown = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"
            said = someone.onggi("run", "--rm", *limits, "busybox", "sh", "-c", shown)
            assert said.split() == ["67108864", "20", "50000", "100000"]
            someone.onggi("run", "-d", "--name", "one", *limits, "busybox", "sleep", "600")
            someone.onggi("pause", "one")
            assert someone.onggi("ps", "--format", "{{.Status}}").strip().endswith("(Paused)")
            someone.onggi("unpause", "one")
            assert someone.onggi("stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "one").startswith("1 ")
            eats = someone.run("onggi", "-H", someone.host, "run", "--name", "big", "-m", "16m", "--memory-swap", "16m", "busybox",
                               "sh", "-c", "x=aaaaaaaa; while :; do x=$x$x; done")  # fmt: skip
            assert eats.returncode == 137
            assert someone.onggi("inspect", "--format", "{{.State.OOMKilled}}", "big").strip() == "true"
            someone.onggi("rm", "-f", "one", "big")
            someone.stop()
        finally:
            wait_until(lambda: not someone.processes())
            for path in sorted(directory.rglob("*/"), reverse=True):
                path.rmdir()
            directory.rmdir()


@pytest.mark.row("P-145")
def test_what_is_missing_is_named_with_the_command_that_mends_it() -> None:
    with a_person() as someone:
        subprocess.run(["usermod", "--del-subuids", f"{someone.subordinate.start}-{someone.subordinate.stop - 1}", someone.name], check=True)  # fmt: skip
        said = someone.run("onggid", "--rootless")
        assert said.returncode == 1
        assert "sudo usermod --add-subuids" in said.stderr
        without = subprocess.run(
            [*someone.command("env", "-u", "XDG_RUNTIME_DIR", someone.python, "-I", "-m", "onggi.api.onggid", "--rootless")],
            capture_output=True, text=True, cwd="/", check=False,
        )  # fmt: skip
        assert "loginctl enable-linger" in without.stderr


def test_an_engine_with_nothing_to_run_leaves_nothing() -> None:
    with a_person() as someone:
        someone.start()
        assert any("onggi.rootless.outside" in line for line in someone.processes())
        someone.stop()
        deadline = time.monotonic() + 20 * SLOW
        while left := someone.processes():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
