"""What a check needs of an engine: containers that start, answer, stop, and come back with their data."""

from __future__ import annotations

import contextlib
import io
import itertools
import socket
import tarfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from tests.shapes.doors import Door, Failed

READY_S = 90  # a first start of a database on a machine that is busy
numbers = itertools.count(1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def expect(condition: object, claim: str) -> None:
    if not condition:
        raise Failed(claim)


class House:
    """Containers, volumes and a network of one check; all of them go with `close`."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.name = f"house{next(numbers)}"
        self._containers: list[str] = []
        self._volumes: list[str] = []
        door.say("network", "create", self.name)

    def close(self) -> None:
        if self._containers:
            self.door.run("rm", "-f", "-v", *self._containers)
        if self._volumes:
            self.door.run("volume", "rm", *self._volumes)
        self.door.run("network", "rm", self.name)

    def volume(self, name: str) -> str:
        self._volumes.append(f"{self.name}-{name}")
        return self._volumes[-1]

    def start(self, example: str, *flags: str, alias: str = "", command: tuple[str, ...] = ()) -> str:
        """A container of shape/`example` on the house's network; its name."""
        name = f"{self.name}-{alias or example}-{next(numbers)}"
        self._containers.append(name)
        aliases = ("--network-alias", alias) if alias else ()
        self.door.say(
            "run", "-d", "--name", name, "--network", self.name, *aliases, *flags, f"shape/{example}", *command
        )
        return name

    def adopt(self, container: str) -> None:
        """One that the check has created itself."""
        self._containers.append(container)

    def copy_in(self, container: str, path: str, text: str) -> None:
        """A file in a container that needn't run (`cp -` with a tar)."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(PurePosixPath(path).name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
        self.door.say("cp", "-", f"{container}:{PurePosixPath(path).parent}", text=archive.getvalue())

    def ask(self, container: str, *command: str, text: str = "") -> str:
        """What `command` says in the container; it must succeed."""
        return self.door.say("exec", "-i", container, *command, text=text.encode())

    def stop(self, container: str, timeout_s: int = 30) -> int:
        """Its exit code after the image's stop signal."""
        self.door.say("stop", "-t", str(timeout_s), container, timeout_s=timeout_s + 30)
        return int(self.door.say("inspect", "-f", "{{.State.ExitCode}}", container))

    def remove(self, container: str) -> None:
        self.door.say("rm", "-f", container)
        self._containers.remove(container)

    def logs(self, container: str) -> str:
        done = self.door.run("logs", container)
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    def healthy(self, container: str) -> None:
        self.until(lambda: self.door.say("inspect", "-f", "{{.State.Health.Status}}", container) == "healthy", container, "healthy")  # fmt: skip

    def page(self, container: str, port: int, path: str = "/") -> str:
        """The page of a published port, as soon as one is served."""
        found: list[str] = []

        def served() -> bool:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:  # fmt: skip
                found.append(answer.read().decode("utf-8", "replace"))
            return bool(found)

        self.until(served, container, f"served {path}")
        return found[0]

    def post(self, port: int, path: str, form: dict[str, str]) -> str:
        """The answer to a form."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}{path}", urllib.parse.urlencode(form).encode(), timeout=60
        ) as answer:
            return str(answer.read().decode("utf-8", "replace"))

    def until(self, holds: Callable[[], bool], container: str, claim: str) -> None:
        """Fails with the container's log when it has ended or READY_S have passed."""
        deadline = time.monotonic() + READY_S
        while not holds():
            running = self.door.say("inspect", "-f", "{{.State.Running}}", container) == "true"
            if not running or time.monotonic() > deadline:
                raise Failed(
                    f"{container} never {claim} ({'it runs' if running else 'it has ended'}):\n{self.logs(container)[-1500:]}"
                )
            time.sleep(0.1)


@contextlib.contextmanager
def house(door: Door) -> Iterator[House]:
    made = House(door)
    try:
        yield made
    finally:
        made.close()
