"""Bundles for `onggi-runtime`, run as a program of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RUNTIME = Path(sys.executable).with_name("onggi-runtime")
APPLETS = ("sh", "true", "sleep", "cat", "echo", "id", "pwd", "stty", "ls")


class Bundle:
    """One directory with config.json and rootfs; `call` runs a command line, `make` says what the next container runs."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.root = directory, directory / "state"
        self.ids: list[str] = []
        self.command = [str(RUNTIME), "--root", str(self.root)]

    def call(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *words],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            **options,
        )

    def change(self, **parts: object) -> None:
        """Parts of config.json anew."""
        config = json.loads((self.directory / "config.json").read_text())
        (self.directory / "config.json").write_text(json.dumps(config | parts))

    def change_linux(self, **parts: object) -> None:
        """Parts of its `linux` anew."""
        config = json.loads((self.directory / "config.json").read_text())
        self.change(linux=config["linux"] | parts)

    def make(self, *args: str, **process: object) -> str:
        config = json.loads((self.directory / "config.json").read_text())
        config["process"] |= {"args": list(args), "terminal": False, **process}
        (self.directory / "config.json").write_text(json.dumps(config))
        self.ids.append(f"onggi-test-{uuid.uuid4().hex[:10]}")
        return self.ids[-1]

    def start(self, *args: str) -> str:
        """A detached one; its stdio is closed, or the pipes of `call` would last as long as it."""
        container_id = self.make(*args)
        null = subprocess.DEVNULL
        subprocess.run(
            [*self.command, "run", "-d", container_id],
            cwd=self.directory,
            stdin=null,
            stdout=null,
            stderr=null,
            check=True,
            timeout=30,
        )
        return container_id

    def status(self, container_id: str) -> str:
        return str(json.loads(self.call("state", container_id).stdout)["status"])


def said(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error."""
    found = re.fullmatch(r'time="[^"]+" level=error msg="(.*)"\n', result.stderr)
    assert found, result.stderr
    return found[1].replace('\\"', '"')


@contextlib.contextmanager
def made_bundle(directory: Path) -> Iterator[Bundle]:
    """A bundle with busybox; nothing of its containers is left afterwards."""
    (directory / "rootfs/bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", directory / "rootfs/bin/busybox")
    for name in APPLETS:
        (directory / "rootfs/bin" / name).symlink_to("busybox")
    made = Bundle(directory)
    assert made.call("spec").returncode == 0
    yield made
    for container_id in made.ids:
        made.call("delete", "--force", container_id)
    assert not made.root.exists() or not os.listdir(made.root)
    assert not [path for path in Path("/sys/fs/cgroup").glob("*/onggi-test-*") if path.name in made.ids]
