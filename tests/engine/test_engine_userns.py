"""--userns-remap: root of a container is nobody on the host, and nothing that the engine keeps changes its owner for it."""

from __future__ import annotations

import io
import re
import stat
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onggi.api.engineoptions import engine_options
from onggi.api.options import merge, parse_arguments
from onggi.engine import userns
from onggi.engine.config import Mount
from onggi.engine.engine import Engine
from onggi.errors import InvalidArgument
from onggi.kernel.userns import IdMaps, IdRange
from tests.engine.engines import body, document, end_of, execute, needs_root, output, run, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")
MAPS = IdMaps((IdRange(0, 200000, 65536),), (IdRange(0, 300000, 65536),))


@pytest.mark.row("S-38", "P-148")
def test_roots_of_containers_are_nobody_on_the_host_and_their_files_are_shared(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        host = {"binds": ["vol:/v"], "network_mode": "bridge", "tmpfs": {"/t": ""}}
        container = await run(engine, "sleep", "1000", host=host)
        pid = engine.containers.get(container).row.pid
        ids = re.findall(r"(?m)^[UG]id:\t(\d+)", Path(f"/proc/{pid}/status").read_text())
        assert ids == ["200000", "300000"]
        script = "echo in > /own; chown 5:6 /own; rm /etc/group; touch /v/made /t/made; stat -c '%u:%g %n' /own /v/made /t/made /etc/hosts /"
        code, text = await execute(engine, container, "sh", "-c", script)
        assert (code, text.split()) == (
            0, ["5:6", "/own", "0:0", "/v/made", "0:0", "/t/made", "0:0", "/etc/hosts", "0:0", "/"],
        )  # fmt: skip
        # On disk, and so for containers without a user namespace, owners are what they are inside.
        upper = Path(engine.snapshots.directory(container)) / "upper"
        assert [(upper / "own").stat().st_uid, (upper / "own").stat().st_gid] == [5, 6]
        assert Path(engine.volumes.mountpoint("vol"), "made").stat().st_uid == 0
        other = {"binds": ["vol:/v"], "userns_mode": "host"}
        said = await output(engine, "sh", "-c", "stat -c %u /v/made; cat /proc/self/uid_map", host=other)
        assert said.split() == ["0", "0", "0", "4294967295"]
        assert {(one.path, one.kind) for one in await engine.containers.changes(container)} >= {
            ("/own", 1),
            ("/etc/group", 2),
        }
        assert document(engine, container)["HostConfig"]["UsernsMode"] == ""
        assert "name=userns" in (await engine.system.info())["SecurityOptions"]

    with_engine(tmp_path, test, id_maps=MAPS)


@pytest.mark.row("S-38")
def test_nothing_of_the_engine_can_be_reached_by_the_host_user_who_is_root_inside(tmp_path: Path) -> None:
    """CVE-2021-41091: programs with setuid bits in layers and volumes, which another user of the host could run."""

    async def test(engine: Engine) -> None:
        await output(engine, "sh", "-c", "cp /bin/busybox /v/root; chmod 4755 /v/root", host={"binds": ["vol:/v"]})
        data = engine.options.data_root_path
        tmp_path.chmod(0o755)
        found = subprocess.run(
            ["find", str(data), "-perm", "-4000"], user=200000, group=300000, extra_groups=[], capture_output=True, check=False, text=True,
        )  # fmt: skip
        assert (found.stdout, found.returncode) == ("", 1)
        made = Path(engine.volumes.mountpoint("vol"), "root")
        assert (made.stat().st_uid, stat.S_IMODE(made.stat().st_mode)) == (0, 0o4755)
        # What belongs to the host's root is nobody's inside, and stays as it is.
        kept = tmp_path / "kept"
        kept.write_text("host's")
        kept.chmod(0o600)
        script = "stat -c %u /h/kept; cat /h/kept; echo x > /h/kept; echo 1 > /proc/sys/kernel/panic; mount -t tmpfs x /mnt; true"
        said = await output(engine, "sh", "-c", f"({script}) 2>/dev/null", host={"binds": [f"{tmp_path}:/h"]})
        assert said.split() == ["65534"]
        assert kept.read_text() == "host's"

    with_engine(tmp_path, test, id_maps=MAPS)


@pytest.mark.row("P-148")
def test_copies_show_the_containers_own_owners_running_or_not(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        container = await run(engine, "sh", "-c", "echo a > /tmp/a; chown 7:8 /tmp/a; exec sleep 1000")
        await execute(engine, container, "sh", "-c", "until [ -e /tmp/a ]; do usleep 1000; done; chown 7:8 /tmp/a")
        for moment in ("runs", "has ended"):
            packed = tar_of(f"in-{moment[:3]}", uid=9, gid=10)
            await engine.copies.put(container, "/tmp", once(packed), no_overwrite_dir_non_dir=False, copy_uid_gid=False)
            async with engine.copies.get(container, "/tmp") as (_, pieces):
                content = b"".join([piece async for piece in pieces])
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                owners = {entry.name: (entry.uid, entry.gid) for entry in archive}
            assert owners["tmp/a"] == (7, 8), moment
            assert owners[f"tmp/in-{moment[:3]}"] == (9, 10), moment
            if moment == "runs":
                await engine.containers.stop(container, timeout=0)

    with_engine(tmp_path, test, id_maps=MAPS)


@pytest.mark.row("P-148")
def test_what_root_of_a_user_namespace_can_not_have_is_refused_as_docker_does(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        for host, text in (
            ({"privileged": True}, "privileged mode is incompatible with user namespaces"),
            ({"network_mode": "host"}, "cannot share the host's network namespace when user namespaces are enabled"),
            ({"pid_mode": "host"}, "cannot share the host PID namespace when user namespaces are enabled"),
        ):
            with pytest.raises(InvalidArgument, match=text):
                await engine.containers.create("", body("true", host=host))
            ended = await end_of(engine, await run(engine, "true", host={**host, "userns_mode": "host"}))
            assert ended == 0, host
        mounts = [Mount("tmpfs", "", "/m")]
        assert await output(engine, "stat", "-c", "%u", "/m", host={"mounts": mounts}) == "0\n"

    with_engine(tmp_path, test, id_maps=MAPS)


@pytest.mark.row("P-148")
def test_ids_are_those_that_the_hosts_files_give_to_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert userns.maps_of("") is None
    assert userns.maps_of("root") is None
    with pytest.raises(InvalidArgument, match="no user dockremap|gives dockremap no ids"):
        userns.maps_of("default")
    with pytest.raises(InvalidArgument, match="no user nobody-of-that-name"):
        engine_options(merge(parse_arguments(["--userns-remap=nobody-of-that-name"]), {}))
    (tmp_path / "subuid").write_text("daemon:100000:65536\n1:400000:1000\n")
    (tmp_path / "subgid").write_text("daemon:200000:65536\nbin:300000:65536\n")
    monkeypatch.setattr(userns, "SUBUID", str(tmp_path / "subuid"))
    monkeypatch.setattr(userns, "SUBGID", str(tmp_path / "subgid"))
    uids = (IdRange(0, 100000, 65536), IdRange(65536, 400000, 1000))
    assert userns.maps_of("daemon") == IdMaps(uids, (IdRange(0, 200000, 65536),))
    assert userns.maps_of("1:bin") == IdMaps(uids, (IdRange(0, 300000, 65536),))
    with pytest.raises(InvalidArgument, match="gives games no ids"):
        userns.maps_of("daemon:games")


def tar_of(name: str, *, uid: int, gid: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.uid, entry.gid = uid, gid
        archive.addfile(entry)
    return packed.getvalue()


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data
