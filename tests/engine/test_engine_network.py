"""Networks, ports and volumes of containers on a real engine."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from onggi.engine.config import EndpointSettings, Mount, PortBinding, TmpfsOptions, VolumeOptions
from onggi.engine.engine import Engine
from onggi.errors import Conflict, InvalidArgument, OnggiError
from onggi.network import mac_of
from tests.engine.engines import body, document, execute, needs_root, output, recorded, run, with_engine

pytestmark = pytest.mark.skipif(needs_root, reason="needs root")

SERVER = ("sh", "-c", "mkdir -p /tmp/w; hostname > /tmp/w/index.html; httpd -f -p 80 -h /tmp/w")
BRIDGE = {"network_mode": "bridge"}


def get(port: int, host: str = "127.0.0.1") -> str:
    """The page, waiting for a server that is coming up."""
    for _ in range(100):
        try:
            with socket.create_connection((host, port), 2) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                data = b""
                while piece := sock.recv(4096):
                    data += piece
                if b"200 OK" in data:
                    return data.rpartition(b"\r\n\r\n")[2].decode().strip()
        except OSError:
            pass
        import time

        time.sleep(0.02)
    raise AssertionError(f"no page on port {port}")


def test_a_published_port_is_served_by_the_container(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        host = BRIDGE | {"port_bindings": {"80/tcp": [PortBinding("127.0.0.1", "")]}}
        container = await run(engine, *SERVER, hostname="jar", host=host)
        ports = document(engine, container)["NetworkSettings"]["Ports"]["80/tcp"]
        port = int(ports[0]["HostPort"])
        assert await asyncio.to_thread(get, port) == "jar"
        with pytest.raises(OnggiError, match="port is already allocated|address already in use"):
            await run(
                engine,
                *SERVER,
                host=BRIDGE | {"port_bindings": {"80/tcp": [PortBinding("127.0.0.1", str(port))]}},
                name="second",
            )
        assert document(engine, "second")["State"]["Status"] == "created"
        await engine.containers.remove(container, force=True)
        await engine.containers.start("second")
        assert await asyncio.to_thread(get, port) == document(engine, "second")["Config"]["Hostname"]

    with_engine(tmp_path, test)


@pytest.mark.row("E-209")
@pytest.mark.parametrize("mac", ["02:42:ac:11:00:99", "92:d0:c6:0a:29:33"])
def test_an_address_that_was_asked_for_outlives_a_stop_and_one_that_was_not_follows_the_ip(
    tmp_path: Path, mac: str
) -> None:
    async def test(engine: Engine) -> None:
        networks = {"bridge": EndpointSettings(mac_address=mac)}
        container = await run(engine, "sleep", "60", host=BRIDGE, networks=networks)
        plain = await run(engine, "sleep", "60", host=BRIDGE)
        for _ in range(2):
            assert document(engine, container)["NetworkSettings"]["Networks"]["bridge"]["MacAddress"] == mac
            assert mac in (await execute(engine, container, "cat", "/sys/class/net/eth0/address"))[1]
            endpoint = document(engine, plain)["NetworkSettings"]["Networks"]["bridge"]
            assert endpoint["MacAddress"] == mac_of(endpoint["IPAddress"])
            for each in (plain, container):
                await engine.containers.stop(each, timeout=0)
            for each in (container, plain):
                await engine.containers.start(each)

    with_engine(tmp_path, test)


def test_an_internal_network_has_no_way_out_and_tells_no_gateway(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        await engine.endpoints.create_network("inner", internal=True)
        container = await run(engine, "sleep", "60", host={"network_mode": "inner"})
        assert document(engine, container)["NetworkSettings"]["Networks"]["inner"]["Gateway"] == ""
        _, routes = await execute(engine, container, "cat", "/proc/net/route")
        assert "00000000" not in [line.split()[1] for line in routes.splitlines()[1:]]

    with_engine(tmp_path, test)


def test_names_and_aliases_resolve_in_a_network_of_its_own(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        await engine.endpoints.create_network("backend")
        web = await run(
            engine,
            *SERVER,
            name="web",
            host={"network_mode": "backend"},
            networks={"backend": EndpointSettings(aliases=["www"])},
        )
        client = await run(engine, "sleep", "60", name="client", host={"network_mode": "backend"})
        for name in ("web", "www", web[:12]):
            code, text = await execute(engine, client, "wget", "-q", "-O", "-", f"http://{name}/")
            assert (code, text.strip()) == (0, web[:12]), (name, text)
        await engine.containers.rename("web", "site")
        code, text = await execute(engine, client, "wget", "-q", "-O", "-", "http://site/")
        assert code == 0, text
        networks = document(engine, web)["NetworkSettings"]["Networks"]
        assert set(networks) == {"backend"}
        assert networks["backend"]["DNSNames"][0] == "site"
        with pytest.raises(OnggiError, match="has active endpoints"):
            await engine.endpoints.remove_network("backend")

    with_engine(tmp_path, test)


def test_a_running_container_joins_and_leaves_networks(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        network = await engine.endpoints.create_network("later")
        container = await run(engine, "sleep", "60", host=BRIDGE)
        one = engine.containers.get(container)
        await engine.endpoints.connect(one, network, EndpointSettings(aliases=["me"]))
        _, text = await execute(engine, container, "ip", "-4", "addr")
        assert "eth1" in text
        assert document(engine, container)["NetworkSettings"]["Networks"]["later"]["IPAddress"] in text
        other = await run(engine, "sleep", "60", host={"network_mode": "later"}, name="other")
        code, text = await execute(engine, container, "ping", "-c1", "-W2", "other")
        assert code == 0, (
            "a container of the default bridge knows names from the moment it joins a network that has them"
        )
        code, text = await execute(engine, other, "ping", "-c1", "-W2", "me")
        assert code == 0, text
        await engine.endpoints.disconnect(one, network, force=False)
        _, text = await execute(engine, container, "ip", "-4", "addr")
        assert "eth1" not in text
        await engine.containers.stop(container, timeout=0)
        await engine.endpoints.connect(one, network, EndpointSettings())
        await engine.containers.start(container)
        _, text = await execute(engine, container, "ip", "-4", "addr")
        assert "eth1" in text

    with_engine(tmp_path, test)


def test_another_containers_network_and_the_hosts_can_be_shared(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        first = await run(engine, *SERVER, name="first", host=BRIDGE)
        text = await output(
            engine, "sh", "-c", "hostname; for i in 1 2 3 4 5; do wget -q -O - http://127.0.0.1/ && break; sleep 0.2; done",
            host={"network_mode": "container:first"},
        )  # fmt: skip
        assert text.split() == [first[:12], first[:12]]
        text = await output(engine, "ip", "link", host={"network_mode": "host"})
        assert f"og-{engine.tag}" in text
        await engine.containers.stop("first", timeout=0)
        with pytest.raises(Conflict, match="non running container"):
            await run(engine, "true", host={"network_mode": "container:first"})

    with_engine(tmp_path, test)


def test_volumes_keep_what_was_written_and_take_the_images_content_first(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        async with recorded(engine) as events:
            text = await output(
                engine, "sh", "-c", "cat /data/seed; echo more >> /data/seed", host={"binds": ["kept:/data"]}
            )
            assert text == "from the image\n"
            text = await output(engine, "cat", "/data/seed", host={"binds": ["kept:/data:ro"]})
            assert text == "from the image\nmore\n"
        found = [f"{one.Type} {one.Action}" for one in events if one.Type == "volume"]
        assert found == ["volume create", "volume mount", "volume unmount", "volume mount", "volume unmount"]
        text = await output(engine, "sh", "-c", "touch /data/x 2>&1 || true", host={"binds": ["kept:/data:ro"]})
        assert "Read-only file system" in text
        await output(engine, "true", volumes={"/data": {}})
        assert [volume.name for volume in engine.volumes.list()] == ["kept"]
        with pytest.raises(InvalidArgument, match="Duplicate mount point: /data"):
            await engine.containers.create("", body("true", host={"binds": ["kept:/data", "other:/data"]}))

    with_engine(tmp_path, test)


def test_binds_tmpfs_and_mounts_are_what_they_say(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        source = tmp_path / "source"
        source.mkdir()
        (source / "file").write_text("on the host\n")
        assert await output(engine, "cat", "/m/file", host={"binds": [f"{source}:/m:ro"]}) == "on the host\n"
        mounts = [
            Mount("bind", str(source), "/m"),
            Mount("tmpfs", "", "/t", tmpfs_options=TmpfsOptions(size_bytes=1 << 20, mode=0o700)),
            Mount("volume", "named", "/v", volume_options=VolumeOptions(labels={"a": "b"})),
        ]
        script = "echo new > /m/new; df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /t; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
        text = await output(
            engine, "sh", "-c", script, host={"mounts": mounts, "shm_size": 2 << 20, "tmpfs": {"/q": "size=64k"}}
        )
        assert text.split() == ["1024", "700", "2048"]
        assert (source / "new").read_text() == "new\n"
        assert engine.volumes.get("named").labels == {"a": "b"}
        with pytest.raises(InvalidArgument, match="bind source path does not exist"):
            await engine.containers.create("", body("true", host={"mounts": [Mount("bind", "/nowhere/at/all", "/m")]}))

    with_engine(tmp_path, test)


def test_a_read_only_root_is_read_only_and_privileges_are_as_asked(tmp_path: Path) -> None:
    async def test(engine: Engine) -> None:
        text = await output(
            engine,
            "sh",
            "-c",
            "touch /x 2>&1 || touch /etc/hosts 2>&1 || touch /dev/shm/y",
            host={"readonly_rootfs": True},
        )
        assert text.count("Read-only file system") == 2
        caps = "grep CapEff /proc/self/status"
        assert (await output(engine, "sh", "-c", caps)).split()[1] == "00000000a80425fb"
        assert (await output(engine, "sh", "-c", caps, host={"cap_drop": ["ALL"], "cap_add": ["NET_ADMIN"]})).split()[
            1
        ] == "0000000000001000"
        assert (await output(engine, "sh", "-c", caps, host={"privileged": True})).split()[1] != "00000000a80425fb"
        script = "grep -E 'NoNewPrivs|^Seccomp:' /proc/self/status"
        assert (await output(engine, "sh", "-c", script, host={"security_opt": ["no-new-privileges"]})).split() == [
            "NoNewPrivs:",
            "1",
            "Seccomp:",
            "2",
        ]
        assert (await output(engine, "sh", "-c", script, host={"security_opt": ["seccomp=unconfined"]})).split() == [
            "NoNewPrivs:",
            "0",
            "Seccomp:",
            "0",
        ]

    with_engine(tmp_path, test)
