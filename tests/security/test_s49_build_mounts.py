"""S-49 for RUN --mount: a mount shows what its stage, image or context holds, and never the machine; a secret leaves no trace."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from onggi.build.errors import BuildFailed
from onggi.build.options import options_from_query
from onggi.engine.engine import Engine
from tests.engine.building import build, context, link, tree
from tests.engine.engines import needs_root, with_engine

pytestmark = [pytest.mark.skipif(needs_root, reason="needs root"), pytest.mark.row("S-49", "S-50")]


@pytest.mark.row("F-059")
def test_links_in_what_a_mount_shows_end_in_it(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "secret").write_text("of the machine")
    up = "../" * 30

    async def test(engine: Engine) -> None:
        for target in (str(host), f"{up}{str(host).lstrip('/')}", f"{host}/secret"):
            stage = f"FROM busybox AS evil\nRUN ln -s {target} /l\nFROM busybox\n"
            for line in (
                "RUN --mount=from=evil,source=/l,target=/m ls /m /m/* && cat /m/secret /m",
                "RUN --mount=from=evil,target=/m cat /m/l/secret /m/l",
                f"RUN --mount=from=evil,source={up}{str(host).lstrip('/')},target=/m cat /m/secret",
            ):
                with pytest.raises(BuildFailed):
                    await build(engine, f"{stage}{line}\n")
            with pytest.raises(BuildFailed):
                await build(
                    engine, "FROM busybox\nRUN --mount=source=l,target=/m cat /m/secret /m\n", {"l": link(target)}
                )

    with_engine(tmp_path, test)


@pytest.mark.row("F-060")
def test_the_place_of_a_mount_can_be_a_link_of_the_image_and_stays_in_the_root(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()

    async def test(engine: Engine) -> None:
        dockerfile = (
            f"FROM busybox\nRUN mkdir -p {host} && ln -s {host} /there && ln -s /proc/self /self\n"
            "RUN --mount=type=cache,target=/there/in echo x > /there/in/f\n"
        )
        await build(engine, dockerfile)
        assert list(host.iterdir()) == []
        with pytest.raises(BuildFailed):
            await build(engine, f"{dockerfile}RUN --mount=type=cache,target=/self/attr true\n")

    with_engine(tmp_path, test)


@pytest.mark.row("F-059")
def test_what_a_step_writes_into_a_mount_changes_nobody_elses_files(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        stage = "FROM busybox AS other\nRUN echo kept > /f\nFROM busybox\n"
        with pytest.raises(BuildFailed):
            await build(engine, f"{stage}RUN --mount=from=other,target=/m echo x > /m/f\n")
        written = await build(engine, f"{stage}RUN --mount=from=other,target=/m,rw echo x > /m/f && cat /m/f\n")
        assert tree(engine, written.image) == {}
        again = await build(engine, f"{stage}COPY --from=other /f /f\n")
        assert tree(engine, again.image)["f"] == "644 0:0 kept\n"

    with_engine(tmp_path, test)


@pytest.mark.row("F-064", "S-51")
def test_a_secret_is_in_no_file_below_the_engines_root_and_in_no_message(tmp_path: Path) -> None:
    secret = f"quite-unlikely-{os.urandom(8).hex()}"
    dockerfile = 'FROM busybox\nRUN --mount=type=secret,id=one --mount=type=secret,id=one,env=ONE test -n "$ONE" && wc -c /run/secrets/one\n'

    async def test(engine: Engine) -> None:
        told: list[bytes] = []

        async def body() -> AsyncIterator[bytes]:
            yield context(dockerfile)

        options = options_from_query({"networkmode": ["none"], "progress": ["raw"], "explain": ["1"]})
        await engine.builder.build(
            body(), options, lambda message: told.append(msgspec.json.encode(message)), {"one": secret.encode()}
        )
        assert secret.encode() not in b"".join(told)
        for directory, _, files in os.walk(tmp_path):
            for name in files:
                path = Path(directory) / name
                if path.is_file() and not path.is_symlink():
                    assert secret.encode() not in path.read_bytes(), path

    with_engine(tmp_path, test)
