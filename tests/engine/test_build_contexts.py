"""What a context may hold: names of all kinds, owners of the client's machine, sockets, FIFOs, devices, files with holes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from onggi.build.options import BuildOptions
from onggi.build.posted import PostedContexts, PostedCredentials, PostedSecrets
from onggi.build.postedagents import PostedAgents
from onggi.build.request import Request
from onggi.cli.buildcontext import from_directory
from onggi.engine.engine import Engine
from onggi.ignore import IgnoreRules
from onggi.oci.platform import parse_platform
from tests.corpus.told import Listening
from tests.engine.building import build, tree
from tests.engine.engines import needs_root, with_engine
from tests.engine.mirrored import read_directory

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")


def sent(place: Path) -> bytes:
    """The directory as `onggi build` sends it."""
    return b"".join(from_directory(str(place), "", {})[0])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    found = tmp_path / "context"
    found.mkdir()
    return found


@pytest.mark.row("F-127", "F-085", "F-081")
def test_names_keep_their_bytes_and_their_case(tmp_path: Path, place: Path) -> None:
    names = [b"UP", b"up", b"a b", b"tab\there", b"new\nline", b"\xff\xfe", b"caf\xc3\xa9", b"back\\slash", b"st*r"]
    for name in names:
        Path(os.fsdecode(os.fsencode(place) + b"/" + name)).write_bytes(name)
    (place / "Dockerfile").write_text('FROM scratch\nCOPY . /all/\nCOPY ["a b", "/one/"]\nCOPY u* st\\\\*r /some/\n')

    async def test(engine: Engine) -> None:
        built = await build(engine, "", body=sent(place))
        root = os.fsencode(engine.layers.path(built.image.layers[0])) + b"/all/"
        assert set(os.listdir(root)) == {*names, b"Dockerfile"}
        for name in names:
            assert Path(os.fsdecode(root + name)).read_bytes() == name
        found = tree(engine, built.image, below=1)
        assert sorted(path for path in found if "/" in path) == ["one/a b", "some/st*r", "some/up"]
        # Ignore files tell them apart as well.
        (place / ".dockerignore").write_text("up\na b\n")
        (place / "Dockerfile").write_text("FROM scratch\nCOPY . /all/\n")
        left = os.listdir(
            os.fsencode(engine.layers.path((await build(engine, "", body=sent(place))).image.layers[0])) + b"/all"
        )
        assert set(names) - set(left) == {b"up", b"a b"}

    with_engine(tmp_path / "engine", test)


@pytest.mark.row("F-179", "F-180", "F-087")
def test_what_a_client_has_of_special_files_and_owners(tmp_path: Path, place: Path) -> None:
    (place / "Dockerfile").write_text("FROM scratch\nCOPY . /all/\n")
    (place / "owned").write_text("x")
    os.chown(place / "owned", 1234, 5678)
    (place / "set").write_text("x")
    (place / "set").chmod(0o4755)
    os.mkfifo(place / "fifo", 0o640)
    os.mknod(place / "device", 0o600 | 0o020000, os.makedev(1, 3))
    with open(place / "hole", "wb") as file:
        file.truncate(5 << 20)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "socket"))

        async def test(engine: Engine) -> None:
            found = tree(engine, (await build(engine, "", body=sent(place))).image, below=0)
            assert set(found) == {f"all/{name}" for name in ("Dockerfile", "owned", "set", "fifo", "hole")} | {"all"}
            assert found["all/owned"] == "644 0:0 x"
            assert found["all/set"] == "4755 0:0 x"
            assert found["all/fifo"] == "640 0:0"
            assert found["all/hole"] == "644 0:0 " + "\0" * (5 << 20)

        with_engine(tmp_path / "engine", test)


@pytest.mark.row("F-203", "F-202", "F-036", "F-049")
def test_a_stage_for_the_builders_own_platform_runs_once_for_all_targets(tmp_path: Path, place: Path) -> None:
    (place / "Dockerfile").write_text(
        "FROM --platform=$BUILDPLATFORM busybox AS compiling\nRUN echo $RANDOM$RANDOM$RANDOM > /once\n"
        "FROM --platform=$BUILDPLATFORM busybox AS for-each\nARG TARGETARCH TARGETVARIANT\nRUN echo $TARGETARCH$TARGETVARIANT > /arch\n"
        "FROM scratch\nCOPY --from=compiling /once /once\nCOPY --from=for-each /arch /arch\n"
    )
    names = ("linux/amd64", "linux/arm64", "linux/arm/v7")

    async def test(engine: Engine) -> None:
        options = BuildOptions(platforms=tuple(parse_platform(name) for name in names), network="none", no_cache=True)
        listening = Listening()
        request = Request(
            options, PostedContexts(read_directory(place, IgnoreRules(())), options), PostedSecrets({}), PostedAgents({}), PostedCredentials({})
        )  # fmt: skip
        async with engine.builder.solve(request, listening) as solved:
            found = [
                {
                    name: Path(engine.layers.path(layer), name).read_text()
                    for layer, name in zip(one.layers, ("once", "arch"), strict=True)
                }
                for one in solved.images
            ]
            assert len({one["once"] for one in found}) == 1
            assert [one["arch"] for one in found] == ["amd64\n", "arm64\n", "armv7\n"]
            assert [str(one.config.platform) for one in solved.images] == list(names)

    with_engine(tmp_path / "engine", test)
