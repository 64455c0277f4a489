"""docker's own command line against onggid: what it prints, and the status it ends with."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.daemon import DOCKER, Daemon, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(autouse=True)
def _clear(daemon: Daemon) -> Iterator[None]:
    yield
    daemon.clear()


@pytest.mark.row("E-039")
@pytest.mark.row("E-040")
def test_version_and_info_are_printed(daemon: Daemon) -> None:
    version = json.loads(daemon.say("version", "--format", "{{json .Server}}"))
    assert (version["ApiVersion"], version["MinAPIVersion"], version["Os"]) == ("1.55", "1.24", "linux")
    assert any(part["Name"] == "Engine" for part in version["Components"])
    info = json.loads(daemon.say("info", "--format", "{{json .}}"))
    assert info["OSType"] == "linux"
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert "name=seccomp,profile=builtin" in info["SecurityOptions"]
    assert info["NCPU"] == os.cpu_count()


@pytest.mark.row("E-002")
@pytest.mark.row("E-020")
def test_run_prints_output_and_gives_the_status(daemon: Daemon) -> None:
    done = daemon.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert daemon.say("ps", "-aq") == ""


@pytest.mark.row("E-239")
def test_run_reads_what_is_piped_in_and_ends_with_it(daemon: Daemon) -> None:
    text = "line\n" * 50_000
    assert daemon.docker("run", "--rm", "-i", "busybox", "wc", "-c", text=text).stdout.strip() == str(len(text))


@pytest.mark.row("E-242")
def test_no_output_is_lost_between_attach_and_exit(daemon: Daemon) -> None:
    lengths = {len(daemon.say("run", "--rm", "--network", "none", "busybox", "seq", "20000")) for _ in range(5)}
    assert lengths == {sum(len(str(n)) + 1 for n in range(1, 20001)) - 1}


@pytest.mark.row("E-261")
@pytest.mark.row("E-275")
@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        ("nonesuch", 127, 'exec: "nonesuch": executable file not found in $PATH'),
        ("/nonesuch", 127, "no such file or directory"),
        ("/etc", 126, "is a directory"),
        ("/etc/passwd", 126, "permission denied"),
    ],
)
def test_programs_that_cannot_run_end_with_dockers_status(daemon: Daemon, command: str, status: int, text: str) -> None:
    done = daemon.docker("run", "--name", "failed", "busybox", command)
    assert done.returncode == status
    assert "OCI runtime create failed" in done.stderr
    assert text in done.stderr
    assert daemon.say("inspect", "-f", "{{.State.ExitCode}} {{.State.Status}}", "failed") == f"{status} created"


@pytest.mark.row("E-049")
@pytest.mark.row("E-050")
@pytest.mark.row("E-052")
def test_exec_gives_output_status_user_and_environment(daemon: Daemon) -> None:
    daemon.say("run", "-d", "--name", "here", "busybox", "sleep", "100")
    done = daemon.docker("exec", "here", "sh", "-c", "echo a; echo b >&2; exit 4")
    assert (done.returncode, done.stdout, done.stderr) == (4, "a\n", "b\n")
    script = "pwd; echo $A; id -u; id -g"
    assert (
        daemon.say("exec", "-w", "/tmp", "-e", "A=1", "-u", "1000:2000", "here", "sh", "-c", script)
        == "/tmp\n1\n1000\n2000"
    )
    assert daemon.say("exec", "-i", "here", "cat", text="piped") == "piped"
    done = daemon.docker("exec", "here", "nonesuch")
    assert done.returncode == 127
    assert "executable file not found in $PATH" in done.stdout
    for code in (1, 2, 3, 126, 200):
        assert daemon.docker("exec", "here", "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.row("E-005")
def test_logs_have_tail_times_and_following(daemon: Daemon) -> None:
    daemon.say("run", "--name", "said", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; done; echo e >&2")
    assert daemon.say("logs", "--tail", "2", "said") == "3"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z 3", daemon.say("logs", "-t", "-n", "2", "said"))
    assert daemon.docker("logs", "said").stderr == "e\n"
    assert daemon.say("logs", "-f", "said").splitlines() == ["1", "2", "3"]
    assert daemon.docker("logs", "nobody").stderr == "Error response from daemon: No such container: nobody\n"


@pytest.mark.row("E-001")
@pytest.mark.row("E-312")
def test_ps_shows_and_filters(daemon: Daemon) -> None:
    daemon.say("run", "-d", "--name", "upper", "--label", "a=b", "--expose", "80", "busybox", "sleep", "100")
    daemon.docker("run", "--name", "ended", "busybox", "sh", "-c", "exit 3")
    daemon.say("create", "--name", "fresh", "busybox", "true")
    form = "{{.Names}}|{{.Status}}|{{.Command}}|{{.Ports}}|{{.State}}"
    lines = daemon.say("ps", "-a", "--no-trunc", "--format", form).splitlines()
    assert lines[0] == 'fresh|Created|"true"||created'
    assert re.fullmatch(r'ended\|Exited \(3\) (Less than a|1|2) seconds? ago\|"sh -c \'exit 3\'"\|\|exited', lines[1])
    assert re.fullmatch(r'upper\|Up (Less than a|\d+) seconds?\|"sleep 100"\|80/tcp\|running', lines[2])
    for filters, names in (
        (["status=exited"], "ended"),
        (["exited=3"], "ended"),
        (["label=a=b"], "upper"),
        (["label=a", "status=created"], ""),
        (["name=up"], "upper"),
        (["status=created", "status=exited"], "fresh\nended"),
        (["ancestor=busybox"], "upper"),
        (["network=bridge", "name=upp"], "upper"),
        (["before=ended"], "upper"),
    ):
        words = [word for value in filters for word in ("--filter", value)]
        assert (
            daemon.say(
                "ps",
                *(["-a"] if "created" in str(filters) or "exited=3" in filters else []),
                "--format",
                "{{.Names}}",
                *words,
            )
            == names
        )
    assert "invalid filter 'nonsense'" in daemon.docker("ps", "--filter", "nonsense=1").stderr


@pytest.mark.row("E-011")
@pytest.mark.row("E-013")
@pytest.mark.row("E-015")
@pytest.mark.row("E-016")
@pytest.mark.row("E-021")
@pytest.mark.row("E-263")
def test_the_moves_of_a_container_and_their_refusals(daemon: Daemon) -> None:
    full = daemon.say(
        "run", "-d", "--name", "one", "busybox", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done"
    )
    assert "is already in use by container" in daemon.docker("create", "--name", "one", "busybox", "true").stderr
    assert "stop the container before removing or force remove" in daemon.docker("rm", "one").stderr
    daemon.say("pause", "one")
    assert f"Container {full} is already paused" in daemon.docker("pause", "one").stderr
    assert "(Paused)" in daemon.say("ps", "--format", "{{.Status}}")
    assert "is paused" in daemon.docker("exec", "one", "true").stderr
    daemon.say("unpause", "one")
    assert f"Container {full} is not paused" in daemon.docker("unpause", "one").stderr
    daemon.say("rename", "one", "two")
    assert "same name" in daemon.docker("rename", "two", "two").stderr
    daemon.say("stop", "two")
    assert daemon.say("inspect", "-f", "{{.State.ExitCode}}", "two") == "9"
    assert daemon.docker("stop", "two").returncode == 0
    assert "is not running" in daemon.docker("kill", "two").stderr
    daemon.say("start", "two")
    daemon.say("restart", "-t", "1", "two")
    assert "invalid signal: NONE" in daemon.docker("kill", "-s", "NONE", "two").stderr
    daemon.say("kill", "two")
    assert daemon.say("wait", "two") == "137"
    daemon.say("rm", "two")
    assert "No such container: two" in daemon.docker("rm", "two").stderr


@pytest.mark.row("E-022")
@pytest.mark.row("E-023")
@pytest.mark.row("E-024")
def test_cp_goes_both_ways_running_or_not(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("from outside")
    daemon.say("create", "--name", "still", "busybox", "cat", "/tmp/folder/file")
    daemon.say("cp", str(tmp_path / "folder"), "still:/tmp")
    assert daemon.say("start", "-a", "still") == "from outside"
    daemon.say("cp", "still:/etc/passwd", str(tmp_path / "passwd"))
    assert (tmp_path / "passwd").read_text().startswith("root:")
    assert "Could not find the file /none in container" in daemon.docker("cp", "still:/none", str(tmp_path)).stderr


@pytest.mark.row("E-053")
@pytest.mark.row("E-057")
@pytest.mark.row("E-267")
def test_volumes_keep_what_containers_leave(daemon: Daemon) -> None:
    daemon.say("run", "--rm", "-v", "kept:/data", "busybox", "sh", "-c", "echo hi > /data/f")
    assert (
        daemon.say("run", "--rm", "-v", "kept:/data:ro", "busybox", "cat", "/data/f", "/data/seed")
        == "hi\nfrom the image"
    )
    daemon.say("run", "-d", "--name", "user", "-v", "kept:/data", "busybox", "sleep", "100")
    assert "volume is in use" in daemon.docker("volume", "rm", "kept").stderr
    daemon.say("rm", "-f", "user")
    assert daemon.say("volume", "ls", "-q", "--filter", "name=kep") == "kept"
    daemon.say("volume", "rm", "kept")
    assert "get kept: no such volume" in daemon.docker("volume", "rm", "kept").stderr


@pytest.mark.row("E-062")
@pytest.mark.row("E-063")
@pytest.mark.row("E-266")
def test_networks_join_containers_by_name(daemon: Daemon) -> None:
    daemon.say("network", "create", "inner")
    assert "network with name inner already exists" in daemon.docker("network", "create", "inner").stderr
    daemon.say(
        "run", "-d", "--name", "server", "--network", "inner", "--network-alias", "web", "busybox", "sleep", "100"
    )
    assert "server" in daemon.say("network", "inspect", "-f", "{{range .Containers}}{{.Name}}{{end}}", "inner")
    assert "1 packets received" in daemon.say(
        "run", "--rm", "--network", "inner", "busybox", "ping", "-c1", "-W2", "web"
    )
    assert "has active endpoints" in daemon.docker("network", "rm", "inner").stderr
    daemon.say("network", "disconnect", "inner", "server")
    assert "is not connected to" in daemon.docker("network", "disconnect", "inner", "server").stderr
    daemon.say("network", "connect", "inner", "server")
    assert "already" in daemon.docker("network", "connect", "inner", "server").stderr
    assert "pre-defined network and cannot be removed" in daemon.docker("network", "rm", "bridge").stderr


@pytest.mark.row("E-044")
@pytest.mark.row("E-255")
def test_events_tell_a_run_in_order(daemon: Daemon) -> None:
    since = time.time()
    daemon.say("run", "--rm", "--name", "told", "--network", "none", "busybox", "true")
    form = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"
    words = ["events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "--format", form]
    told = [line for line in daemon.say(*words).splitlines() if line.startswith("container")]
    order = [line.split()[1] for line in told]
    assert [action for action in order if action != "attach"] == ["create", "start", "die", "destroy"]
    assert all(line.endswith(" told") for line in told)


@pytest.mark.row("E-008")
@pytest.mark.row("E-014")
def test_limits_are_told_changed_and_measured(daemon: Daemon) -> None:
    daemon.say("run", "-d", "--name", "held", "-m", "64m", "--cpus", "0.5", "busybox", "sleep", "100")
    daemon.say("update", "-m", "128m", "--memory-swap", "256m", "held")
    assert (
        daemon.say("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}", "held") == "134217728 500000000"
    )
    assert "/ 128MiB" in daemon.say("stats", "--no-stream", "--format", "{{.MemUsage}}", "held")
    assert "Minimum memory limit allowed is 6MB" in daemon.docker("run", "-m", "1m", "busybox", "true").stderr


@pytest.mark.row("E-043")
@pytest.mark.row("E-032")
@pytest.mark.row("E-034")
@pytest.mark.row("E-035")
def test_commit_makes_an_image_that_runs(daemon: Daemon) -> None:
    daemon.say("run", "--name", "changed", "busybox", "sh", "-c", "echo hello > /hello")
    daemon.say("commit", "-m", "why", "-c", 'CMD ["cat", "/hello"]', "changed", "made:one")
    assert daemon.say("run", "--rm", "made:one") == "hello"
    assert daemon.say("history", "--format", "{{.Comment}}", "made:one").splitlines()[0] == "why"
    daemon.say("tag", "made:one", "made:two")
    assert daemon.say("images", "--format", "{{.Tag}}", "made").split() == ["one", "two"]
    assert daemon.say("rmi", "made:one").splitlines() == ["Untagged: made:one"]
    daemon.say("rm", "changed")
    assert "Deleted: sha256:" in daemon.say("rmi", "made:two")
    assert "No such image: made:two" in daemon.docker("rmi", "made:two").stderr


@pytest.mark.row("E-027")
@pytest.mark.row("E-249")
def test_build_makes_and_tags_an_image(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text('FROM busybox\nRUN echo made > /made\nCOPY f /f\nCMD ["cat", "/made", "/f"]\n')
    (tmp_path / "f").write_text("copied\n")
    said = daemon.say("build", "-t", "built", str(tmp_path))
    assert re.search(r"Step 1/4 : FROM busybox", said)
    assert re.search(r"Successfully built [0-9a-f]{12}\nSuccessfully tagged built:latest", said)
    assert daemon.say("run", "--rm", "built") == "made\ncopied"
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN exit 3\n")
    done = daemon.docker("build", str(tmp_path))
    assert done.returncode != 0
    assert "returned a non-zero code: 3" in done.stderr
    daemon.say("rmi", "built")


class Terminal:
    """The CLI with a terminal, as a person has it."""

    def __init__(self, daemon: Daemon, *words: str) -> None:
        self.master, worker = pty.openpty()
        self.process = subprocess.Popen([DOCKER, "-H", daemon.host, *words], stdin=worker, stdout=worker, stderr=worker)
        os.close(worker)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str) -> None:
        deadline = time.monotonic() + 10
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} didn't come, but {self.seen!r}"
            self.seen += os.read(self.master, 4096).decode()
        self.seen = self.seen.partition(text)[2]

    def end(self) -> int:
        status = self.process.wait(10)
        os.close(self.master)
        return status


@pytest.mark.row("E-240")
@pytest.mark.row("E-243")
def test_a_terminal_can_be_detached_from_and_attached_to(daemon: Daemon) -> None:
    terminal = Terminal(daemon, "run", "-it", "--name", "shell", "busybox", "sh")
    terminal.expect("# ")
    terminal.type("echo $((20+3))\n")
    terminal.expect("23\r\n")
    terminal.type("tty\n")
    terminal.expect("/dev/pts/0\r\n")
    terminal.type("\x10\x11")
    assert terminal.end() == 0
    assert daemon.say("inspect", "-f", "{{.State.Status}}", "shell") == "running"
    terminal = Terminal(daemon, "attach", "shell")
    terminal.type("echo again $((1+1))\n")
    terminal.expect("again 2\r\n")
    terminal.type("exit 5\n")
    assert terminal.end() == 5


@pytest.mark.row("E-009")
@pytest.mark.row("E-051")
def test_an_exec_with_a_terminal_has_the_clients_size(daemon: Daemon) -> None:
    import fcntl
    import struct
    import termios

    daemon.say("run", "-d", "--name", "sized", "busybox", "sleep", "100")
    terminal = Terminal(daemon, "exec", "-it", "sized", "sh")
    terminal.expect("# ")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    terminal.process.send_signal(28)  # SIGWINCH
    time.sleep(0.2)
    terminal.type("stty size\n")
    terminal.expect("33 77\r\n")
    terminal.type("exit 6\n")
    assert terminal.end() == 6


@pytest.mark.row("E-270")
def test_swarm_commands_are_told_that_swarm_is_off(daemon: Daemon) -> None:
    assert "not a swarm manager" in daemon.docker("node", "ls").stderr
    assert "swarm mode is not provided" in daemon.docker("swarm", "init").stderr
    assert "This node is not part of a swarm" in daemon.docker("swarm", "leave").stderr
    assert daemon.say("plugin", "ls", "-q") == ""


@pytest.mark.row("R-01")
def test_containers_outlive_the_engine_and_are_found_again(daemon: Daemon) -> None:
    daemon.say("run", "-d", "--name", "lasting", "busybox", "sh", "-c", "while :; do date +%s; sleep 0.2; done")
    pid = daemon.say("inspect", "-f", "{{.State.Pid}}", "lasting")
    daemon.kill()
    daemon.start()
    assert daemon.say("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "lasting") == f"{pid} running"
    assert daemon.say("exec", "lasting", "echo", "here") == "here"
    daemon.stop()
    daemon.start()
    assert daemon.say("inspect", "-f", "{{.State.Pid}}", "lasting") == pid
    lines = [int(line) for line in daemon.say("logs", "lasting").split()]
    assert lines
    assert max(after - before for before, after in itertools.pairwise(lines)) <= 1
