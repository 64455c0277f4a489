"""`onggi-runtime` for an ordinary user: what `spec --rootless` writes runs, with one mapped id and no help."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.engines import busybox_tar
from tests.rootless.people import Person, a_person

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    with a_person() as made:
        yield made


@pytest.fixture
def bundle(person: Person) -> Path:
    """Belongs to the user, who wrote its config.json with the runtime."""
    directory = person.home / "bundle"
    if not directory.exists():
        with tarfile.open(fileobj=io.BytesIO(busybox_tar())) as archive:
            archive.extractall(directory / "rootfs", filter="tar")
        for path in (directory, *directory.rglob("*")):
            os.chown(path, person.uid, person.gid, follow_symlinks=False)
        done = person.run("onggi-runtime", "spec", "--rootless", "-b", str(directory))
        assert done.returncode == 0, done.stderr
    return directory


def configure(bundle: Path, *args: str) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["args"], config["process"]["terminal"] = list(args), False
    (bundle / "config.json").write_text(json.dumps(config))


@pytest.mark.row("S-39", "CL-188")
def test_a_bundle_runs_and_its_root_is_the_user(person: Person, bundle: Path) -> None:
    configure(bundle, "sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/made; exit 7")
    done = person.run("onggi-runtime", "run", "-b", str(bundle), "one")
    assert done.returncode == 7, done.stderr
    assert done.stdout.split() == ["0", "0", str(person.uid), "1"]
    assert person.run("onggi-runtime", "list", "-q").stdout == ""


@pytest.mark.row("CL-177")
def test_its_life_goes_the_usual_way_with_state_in_the_users_directory(person: Person, bundle: Path) -> None:
    configure(bundle, "sleep", "600")
    # The container has the stdio of its create.
    subprocess.run(person.command("onggi-runtime", "create", "-b", str(bundle), "two"), check=True, cwd="/",
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    assert (person.runtime / "onggi-runtime/two").exists()
    assert person.run("onggi-runtime", "start", "two").returncode == 0
    state = json.loads(person.run("onggi-runtime", "state", "two").stdout)
    assert state["status"] == "running"
    assert os.stat(f"/proc/{state['pid']}").st_uid == person.uid
    inside = person.run("onggi-runtime", "exec", "two", "hostname")
    assert (inside.returncode, inside.stdout) == (0, "onggi\n"), inside.stderr
    assert person.run("onggi-runtime", "kill", "two", "KILL").returncode == 0
    deadline = time.monotonic() + 20
    while person.run("onggi-runtime", "delete", "two").returncode != 0:
        assert time.monotonic() < deadline
    assert person.run("onggi-runtime", "list", "-q").stdout == ""
