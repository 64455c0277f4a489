"""docker's command line ships images through onggid and onggi-registry, both as their own processes."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.clients.daemon import Daemon, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


def serve(root: Path, *words: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-I", "-m", "onggi.registry.command", "serve", "--root", str(root)]
    process = subprocess.Popen([*command, "--listen", f"127.0.0.1:{port}", *words], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(15) == 0


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("locked")
    (root / "users").write_text("anna:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode())
    yield from serve(root / "data", "--htpasswd", str(root / "users"))


@pytest.mark.row("E-029")
@pytest.mark.row("E-033")
@pytest.mark.row("E-246")
@pytest.mark.row("E-247")
def test_an_image_that_was_pushed_comes_back_by_tag_and_by_digest(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/team/app"
    made = daemon.say("run", "-d", "busybox", "sh", "-c", "echo hello > /greeting")
    daemon.say("wait", made)
    daemon.say("commit", "-c", 'CMD ["cat", "/greeting"]', made, f"{name}:1")
    said = daemon.say("push", f"{name}:1").splitlines()
    assert said[0] == f"The push refers to repository [{name}]"
    found = re.fullmatch(r"1: digest: (sha256:[0-9a-f]{64}) size: \d+", said[-1])
    assert found
    identifier = daemon.say("image", "inspect", "-f", "{{.Id}}", f"{name}:1")
    daemon.say("rm", made)
    daemon.say("rmi", f"{name}:1")
    assert daemon.say("run", "--rm", f"{name}:1") == "hello"
    assert daemon.say("image", "inspect", "-f", "{{.Id}}", f"{name}:1") == identifier
    daemon.say("rmi", f"{name}:1")
    said = daemon.say("pull", f"{name}@{found[1]}").splitlines()
    assert said[0] == f"{name}@{found[1]}: Pulling from team/app"
    assert said[-2] == f"Status: Downloaded newer image for {name}@{found[1]}"
    assert daemon.say("pull", "-q", f"{name}:1") == f"{name}:1"
    assert f"Status: Image is up to date for {name}:1" in daemon.say("pull", f"{name}:1")
    daemon.say("rmi", "-f", identifier)


@pytest.mark.row("E-107")
@pytest.mark.row("E-269")
def test_what_a_registry_lacks_is_said_in_dockers_words(daemon: Daemon, registry: str) -> None:
    done = daemon.docker("pull", f"{registry}/nothing:1")
    assert (done.returncode, done.stderr.strip()) == (
        1,
        f"Error response from daemon: manifest for {registry}/nothing:1 not found: manifest unknown: manifest unknown",
    )
    done = daemon.docker("push", f"{registry}/nothing:1")
    assert done.returncode == 1
    assert f"An image does not exist locally with the tag: {registry}/nothing" in done.stderr


@pytest.mark.row("E-038")
@pytest.mark.row("I-110")
@pytest.mark.row("S-70")
def test_a_locked_registry_wants_a_login(daemon: Daemon, locked_registry: str) -> None:
    name = f"{locked_registry}/private:1"
    daemon.say("tag", "busybox", name)
    done = daemon.docker("push", name)
    assert done.returncode == 1
    assert "denied" in done.stderr or "unauthorized" in done.stderr
    done = daemon.docker("login", "-u", "anna", "--password-stdin", locked_registry, text="wrong")
    assert done.returncode == 1
    assert "unauthorized" in done.stderr
    assert "Login Succeeded" in daemon.say("login", "-u", "anna", "--password-stdin", locked_registry, text="secret")
    daemon.say("push", name)
    daemon.say("rmi", name)
    daemon.say("pull", name)
    daemon.say("logout", locked_registry)
    done = daemon.docker("pull", name)
    assert f"pull access denied for {name[:-2]}, repository does not exist or may require 'docker login'" in done.stderr
    daemon.say("rmi", name)


@pytest.mark.row("E-046")
@pytest.mark.row("E-047")
@pytest.mark.row("E-048")
def test_images_go_into_a_file_and_come_out(daemon: Daemon, tmp_path: Path) -> None:
    daemon.say("tag", "busybox", "saved:1")
    daemon.say("tag", "busybox", "saved:2")
    daemon.say("save", "-o", str(tmp_path / "saved.tar"), "saved:1", "saved:2")
    daemon.say("rmi", "saved:1", "saved:2")
    assert daemon.say("load", "-i", str(tmp_path / "saved.tar")).splitlines() == [
        "Loaded image: saved:1",
        "Loaded image: saved:2",
    ]
    assert daemon.say("run", "--rm", "saved:2", "echo", "ok") == "ok"
    daemon.say("rmi", "saved:1", "saved:2")
    done = daemon.docker("save", "-o", str(tmp_path / "none.tar"), "nothing")
    assert "No such image: nothing" in done.stderr
