"""An ordinary user of this machine for some tests: with an entry in /etc/passwd, ids of its own, a home and a runtime directory."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import onggi
from tests.patience import SLOW

_NUMBERS = itertools.count()
SOURCE = Path(onggi.__file__).parents[1]
LIBRARIES = next(path for path in sys.path if path.endswith("site-packages"))


class Person:
    """`run` does something as the user; `onggi` is the command line against the user's engine."""

    def __init__(self, name: str, root: Path) -> None:
        entry = pwd.getpwnam(name)
        self.name, self.uid, self.gid, self.root = name, entry.pw_uid, entry.pw_gid, root
        self.home, self.runtime, self.log = root / "home", root / "run", root / "log"
        for directory in (self.home, self.runtime):
            directory.mkdir(mode=0o700)
            os.chown(directory, self.uid, self.gid)
        self.python = _python(root)
        self.path = "/usr/sbin:/usr/bin:/sbin:/bin"
        self.engine: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.runtime}/onggi.sock"

    def command(self, *words: str) -> list[str]:
        rights = ["/usr/bin/setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--inh-caps=-all"]
        if words[0] == "onggid":
            words = (self.python, "-I", "-m", "onggi.api.onggid", *words[1:])
        elif words[0] == "onggi":
            words = (self.python, "-I", "-c", "from onggi.cli.main import main; raise SystemExit(main())", *words[1:])
        elif words[0] == "onggi-runtime":
            words = (self.python, "-I", "-m", "onggi.runtime.entry", *words[1:])
        return ["/usr/bin/env", "-i", f"HOME={self.home}", f"XDG_RUNTIME_DIR={self.runtime}", f"PATH={self.path}",
                *rights, *words]  # fmt: skip

    def start(self, *words: str, into: str = "") -> None:
        """The engine; returns when it answers. `into` is a cgroup's directory that it shall begin in."""
        line = self.command("onggid", "--rootless", *words)
        if into:
            line = ["sh", "-c", 'echo $$ >"$0"/cgroup.procs && exec "$@"', into, *line]
        with self.log.open("ab") as log:
            self.engine = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + 60 * SLOW
        while self.run("onggi", "-H", self.host, "version").returncode != 0:
            if self.engine.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"onggid --rootless didn't start:\n{self.log.read_text()}")

    def stop(self) -> None:
        if self.engine is not None:
            self.engine.terminate()
            self.engine.wait(30 * SLOW)
            self.engine = None

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=120 * SLOW, cwd="/", check=False
        )

    def onggi(self, *words: str) -> str:
        done = self.run("onggi", "-H", self.host, *words)
        assert done.returncode == 0, done.stderr + self.log.read_text()[-2000:]
        return done.stdout

    def refused(self, *words: str) -> str:
        done = self.run("onggi", "-H", self.host, *words)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def processes(self) -> list[str]:
        """Command lines of what the user, or an id of the user's, runs."""
        found = []
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                owner = os.stat(f"/proc/{entry}").st_uid
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and (owner == self.uid or owner in self.subordinate):
                    found.append(Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    @property
    def subordinate(self) -> range:
        for line in Path("/etc/subuid").read_text().splitlines():
            owner, first, size = line.split(":")
            if owner == self.name:
                return range(int(first), int(first) + int(size))
        return range(0)


def _python(root: Path) -> str:
    """An interpreter that everybody may run: ours, or the system's of the same version with our libraries."""
    # By a shell: setpriv itself finds the program while it still has root's rights.
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    probe = [*words, "sh", "-c", f"exec {sys.executable} -I -c 'import onggi'"]
    if subprocess.run(probe, capture_output=True, check=False, cwd="/").returncode == 0:
        return sys.executable
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    system = f"/usr/bin/python{version}"
    assert os.path.exists(system), f"{sys.executable} can't be run by an ordinary user, and there is no {system}"
    subprocess.run([system, "-m", "venv", "--without-pip", str(root / "venv")], check=True)
    (root / f"venv/lib/python{version}/site-packages/onggi.pth").write_text(f"{LIBRARIES}\n{SOURCE}\n")
    return str(root / "venv/bin/python")


@contextlib.contextmanager
def a_person() -> Iterator[Person]:
    """Made for the block; nothing of it stays: no process, no file, no line in /etc."""
    name = f"onggi-t{os.getpid()}-{next(_NUMBERS)}"
    root = Path(tempfile.mkdtemp(prefix="onggi-user-", dir="/var/tmp"))
    root.chmod(0o755)
    subprocess.run(["useradd", "--no-create-home", "--home-dir", str(root / "home"), name], check=True)
    try:
        if f"{name}:" not in Path("/etc/subuid").read_text():
            subprocess.run(["usermod", "--add-subuids", "2000000-2065535", "--add-subgids", "2000000-2065535", name], check=True)  # fmt: skip
        person = Person(name, root)
        try:
            yield person
        finally:
            person.stop()
            _end(person)
    finally:
        subprocess.run(["userdel", name], check=True)
        shutil.rmtree(root)


def _end(person: Person) -> None:
    """Its processes by their ids."""
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            owner = os.stat(f"/proc/{entry}").st_uid
            if owner == person.uid or owner in person.subordinate:
                os.kill(int(entry), signal.SIGKILL)
    deadline = time.monotonic() + 10 * SLOW
    while person.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
