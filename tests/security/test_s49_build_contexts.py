"""S-49: whatever a context, an archive in it or an image's own links say, a build touches nothing outside of its root."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from onggi.engine.engine import Engine
from onggi.errors import OnggiError
from tests.engine.building import Files, archive, build, link, tree
from tests.engine.engines import needs_root, with_engine

pytestmark = [pytest.mark.skipif(needs_root, reason="needs root"), pytest.mark.row("S-49")]


def special(kind: bytes, major: int = 1, minor: int = 1) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.devmajor, info.devminor = kind, major, minor
    return info


def hard(target: str) -> tarfile.TarInfo:
    return link(target, tarfile.LNKTYPE)


Case = tuple[str, Callable[[str], Files]]

HOSTILE: dict[str, Case] = {
    "a link to a host file": ("COPY l /x", lambda host: {"l": link(f"{host}/secret")}),
    "a link upwards": ("COPY l /x", lambda host: {"l": link("../" * 30 + host.lstrip("/") + "/secret")}),
    "a directory link": ("COPY d/secret /x", lambda host: {"d": link(host)}),
    "a wildcard through a link": ("COPY d/* /x/", lambda host: {"d": link(host)}),
    "dots": ("COPY ../../../../..{host}/secret /x", lambda _host: {}),
    "an absolute source": ("COPY {host}/secret /x", lambda _host: {}),
    "a hard link to the host": ("COPY h /x", lambda host: {"h": hard(f"{host}/secret")}),
    "a file over a link's target": ("COPY l /x", lambda host: {"l": link(f"{host}/secret"), "l/f": "through"}),
    "a member that leaves": ("COPY . /x", lambda _host: {"../../out": "x"}),
    "a link in the image as a directory": ("RUN busybox ln -s {host} /l\nCOPY f /l/canary", lambda _host: {"f": "overwritten"}),
    "a link in the image as a file": ("RUN busybox ln -s {host}/canary /l\nCOPY f /l", lambda _host: {"f": "overwritten"}),
    "a relative link in the image": ("RUN busybox ln -s ../../../../../../../..{host} /l\nCOPY d /l", lambda _host: {"d/canary": "overwritten"}),
    "a tree over a link": ("RUN busybox ln -s {host} /l\nCOPY d /", lambda _host: {"d/l/canary": "overwritten"}),
    "a working directory": ("RUN busybox ln -s {host} /l\nWORKDIR /l/new\nCOPY f canary", lambda _host: {"f": "overwritten"}),
    "an archive with dots": ("ADD a.tar /x/", lambda host: {"a.tar": archive({f"../../../../../../../../..{host}/canary": "overwritten"})}),
    "an archive with a link": (
        "ADD a.tar /x/",
        lambda host: {"a.tar": archive({"l": link(host), "l/canary": "overwritten"})},
    ),
    "an archive over a link of the image": (
        "RUN busybox ln -s {host} /l\nADD a.tar /",
        lambda _host: {"a.tar": archive({"l/canary": "overwritten"})},
    ),
    "a stage's link": ("RUN busybox ln -s {host}/secret /s\nFROM busybox\nCOPY --from=0 /s /x", lambda _host: {}),
    "a stage's directory link": ("RUN busybox ln -s {host} /s\nFROM busybox\nCOPY --from=0 /s/ /x/", lambda _host: {}),
    "a stage's wildcard": ("RUN busybox ln -s {host} /s\nFROM busybox\nCOPY --from=0 /s/* /x/", lambda _host: {}),
    "an owner from a link": ("RUN rm /etc/passwd; busybox ln -s {host}/passwd /etc/passwd\nCOPY --chown=evil f /x", lambda _host: {"f": ""}),
    "a linked layer": ("RUN busybox ln -s {host} /l\nCOPY --link f /l/canary", lambda _host: {"f": "overwritten"}),
    "a heredoc": ("RUN busybox ln -s {host} /l\nCOPY <<canary /l/\noverwritten\ncanary", lambda _host: {}),
    "a heredoc's name": ("COPY <<../../x /l/\noverwritten\n../../x", lambda _host: {}),
    "a script's name": ("RUN <<../../../../x\n#!/bin/sh\n../../../../x", lambda _host: {}),
    "no device": ("COPY . /x", lambda _host: {"b": special(tarfile.BLKTYPE, 8, 0), "c": special(tarfile.CHRTYPE, 1, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_build_reads_and_writes_nothing_of_the_host(tmp_path: Path, name: str) -> None:
    lines, files = HOSTILE[name]
    host = tmp_path / "host"
    host.mkdir()
    (host / "secret").write_text("SECRET-CANARY")
    (host / "canary").write_text("untouched")
    (host / "passwd").write_text("evil:x:1234:1234::/:/bin/sh\n")

    async def test(engine: Engine) -> None:
        try:
            built = await build(engine, f"FROM busybox\n{lines.replace('{host}', str(host))}\n", files(str(host)))
        except OnggiError as error:
            # Refused, and not because the test could not lay its trap.
            refused = str(error)
            if "SECRET" in refused or "non-zero code" in refused:
                pytest.fail(refused)
        else:
            found = tree(engine, built.image)
            assert "SECRET" not in repr(found)
            assert not any(" 1234:" in what for what in found.values())

    with_engine(tmp_path / "engine", test)
    assert (host / "canary").read_text() == "untouched"
    assert sorted(path.name for path in host.iterdir()) == ["canary", "passwd", "secret"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine", "host"]


@pytest.mark.parametrize("dockerfile", ["l", "d/secret", "/etc/passwd", "../x"])
def test_a_dockerfile_is_read_in_the_context_only(tmp_path: Path, dockerfile: str) -> None:
    (tmp_path / "secret").write_text("FROM busybox\nLABEL SECRET=1\n")

    async def test(engine: Engine) -> None:
        with pytest.raises(OnggiError) as caught:
            await build(
                engine,
                "FROM busybox\n",
                {"l": link(str(tmp_path / "secret")), "d": link(str(tmp_path))},
                dockerfile=dockerfile,
            )
        assert "SECRET" not in str(caught.value)

    with_engine(tmp_path / "engine", test)


@pytest.mark.row("S-53")
def test_a_volume_or_working_directory_of_the_image_is_only_a_word(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        image = (await build(engine, "FROM busybox\nVOLUME /../../etc\nWORKDIR ../../../x\nUSER ../../y\n")).image
        assert image.config.run.working_dir == "/x"

    with_engine(tmp_path, test)
