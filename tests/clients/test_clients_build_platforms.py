"""Builds for other platforms and from registries: what is pulled, what runs, what is only data."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.errors import InvalidArgument
from onggi.oci.platform import parse_platform
from tests.clients.daemon import DOCKER, Daemon, running
from tests.clients.test_clients_onggi_build import Building
from tests.clients.test_clients_ship import registry

__all__ = ["registry"]

pytestmark = pytest.mark.root

ARM64 = 183
"""EM_AARCH64 of elf.h."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture
def building(daemon: Daemon, tmp_path: Path) -> Building:
    return Building(daemon, tmp_path)


def program(machine: int) -> bytes:
    """An executable that does nothing, for a machine that this one isn't."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120, 120, 0x1000)


def import_other(daemon: Daemon, name: str) -> None:
    """An image for arm64 that has one file, whose shell can't run here."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("bin/sh")
        info.size, info.mode = len(program(ARM64)), 0o755
        archive.addfile(info, io.BytesIO(program(ARM64)))
    import subprocess

    line = [DOCKER, "-H", daemon.host, "import", "--platform", "linux/arm64", "-", name]
    subprocess.run(line, input=out.getvalue(), capture_output=True, check=True)


@pytest.mark.row("F-040", "F-051", "F-055", "F-143")
def test_a_base_is_pulled_once_however_many_stages_name_it_and_said_to_be_anothers(
    daemon: Daemon, registry: str, building: Building
) -> None:
    name = f"{registry}/base"
    for tag, image in (("here", "busybox"), ("other", "other")):
        if image == "other":
            import_other(daemon, "other")
        daemon.say("tag", image, f"{name}:{tag}")
        daemon.say("push", f"{name}:{tag}")
        daemon.say("rmi", f"{name}:{tag}")
    building.write(
        Dockerfile=f"FROM {name}:here as one\nRUN echo 1 > /1\nFROM --platform=$BUILDPLATFORM {name}:here AS two\nRUN echo 2 > /2\n"
        f"FROM {name}:here\nCOPY --from=one /1 /1\nCOPY --from=two /2 /2\nCOPY --from={name}:here /data/seed /seed\n"
    )
    said = building.build("--no-cache", ".").stderr
    assert said.count(f"[internal] load metadata for {name}:here\n") == 1
    digest = json.loads(daemon.say("image", "inspect", f"{name}:here"))[0]["RepoDigests"][0]
    building.write(Dockerfile=f"FROM {name}:here@{digest.partition('@')[2]} AS One\nLABEL a=1\n")
    building.build(".")
    # It is taken though it is for another machine, as BuildKit does, and told.
    building.write(Dockerfile=f"FROM {name}:other\nLABEL a=1\n")
    said = building.build(".").stderr
    assert 'was pulled with platform "linux/arm64", expected "linux/amd64" for current build' in said


@pytest.mark.row("F-106")
def test_files_of_another_machines_image_are_files(daemon: Daemon, building: Building) -> None:
    import_other(daemon, "other")
    building.write(
        Dockerfile="FROM --platform=linux/arm64 other AS other\nFROM busybox\nCOPY --from=other /bin/sh /arm\nRUN wc -c /arm\n"
    )
    assert f" {len(program(ARM64))} /arm\n" in building.build("--no-cache", ".").stderr


@pytest.mark.row("F-204")
def test_a_step_for_a_machine_that_nothing_emulates_says_what_is_missing(daemon: Daemon, building: Building) -> None:
    if any("aarch64" in path.name for path in Path("/proc/sys/fs/binfmt_misc").glob("*")):
        pytest.skip("this machine runs arm64 programs")
    import_other(daemon, "other")
    building.write(Dockerfile="FROM other\nRUN echo never\n")
    said = building.build("--platform", "linux/arm64", ".", code=1).stderr
    assert "exec /bin/sh: exec format error: emulation not available for linux/arm64" in said
    assert "binfmt_misc" in said


@pytest.mark.row("F-205")
@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/x86_64", "linux/amd64"), ("linux/x86-64", "linux/amd64"), ("LINUX/AMD64", "linux/amd64"), ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"), ("linux/aarch64", "linux/arm64"), ("linux/arm64/v8", "linux/arm64"), ("linux/arm64/8", "linux/arm64"),
        ("linux/armhf", "linux/arm/v7"), ("linux/armel", "linux/arm/v6"), ("linux/arm", "linux/arm/v7"), ("linux/arm/6", "linux/arm/v6"),
        ("linux/i386", "linux/386"), ("arm64", "linux/arm64"), ("s390x", "linux/s390x"), ("macos/arm64", "darwin/arm64"),
    ],
)  # fmt: skip
def test_a_platform_has_one_name_however_it_is_written(text: str, platform: str) -> None:
    assert str(parse_platform(text)) == platform


@pytest.mark.row("F-205")
@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux//v1", "linux/a b", "pdp11"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_platform(text)
