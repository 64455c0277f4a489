"""docker-py against onggid, with its default version, the oldest, and the newest."""

from __future__ import annotations

import collections
import gc
import io
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound

from tests.clients.daemon import Daemon, running

pytestmark = [
    pytest.mark.root,
    # docker-py leaves sockets of taken-over connections to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(params=["1.25", "1.45", "auto"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Any]:
    made = docker.DockerClient(base_url=daemon.host, version=request.param)
    yield made
    made.close()
    daemon.clear()
    gc.collect()


def tar_of(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.mark.row("E-228")
@pytest.mark.row("E-259")
def test_run_gives_output_or_the_error_of_its_kind(client: Any) -> None:
    assert client.ping()
    assert client.containers.run("busybox", "echo hi", remove=True) == b"hi\n"
    with pytest.raises(ContainerError) as ended:
        client.containers.run("busybox", "sh -c 'echo no >&2; exit 3'", remove=True)
    assert (ended.value.exit_status, ended.value.stderr) == (3, b"no\n")
    with pytest.raises(ImageNotFound):
        client.images.get("nonesuch:1")
    with pytest.raises(NotFound):
        client.containers.get("nonesuch")


@pytest.mark.row("E-003")
@pytest.mark.row("E-291")
def test_inspect_has_what_scripts_of_that_version_read(client: Any) -> None:
    here = client.containers.run(
        "busybox", "sleep 100", detach=True, name="here", labels={"a": "b"}, ports={"80/tcp": None}
    )
    here.reload()
    assert here.status == "running"
    assert here.labels == {"a": "b"}
    settings = here.attrs["NetworkSettings"]
    address = settings["Networks"]["bridge"]["IPAddress"]
    assert address.startswith("10.")
    if docker.utils.version_lt(client.api._version, "1.52"):
        assert settings["IPAddress"] == address
    else:
        assert "IPAddress" not in settings
    assert int(settings["Ports"]["80/tcp"][0]["HostPort"]) > 0
    assert [one.name for one in client.containers.list(filters={"label": "a=b", "status": "running"})] == ["here"]
    assert here.top()["Processes"][0][-1] == "sleep 100"


@pytest.mark.row("E-050")
def test_no_exec_loses_its_output(client: Any) -> None:
    here = client.containers.run("busybox", "sleep 100", detach=True)
    seen = collections.Counter(here.exec_run("echo x", demux=True).output for _ in range(30))
    assert seen == {(b"x\n", None): 30}
    assert here.exec_run("sh -c 'echo a; echo b >&2; exit 5'", demux=True) == (5, (b"a\n", b"b\n"))
    assert here.exec_run("env", environment={"K": "v"}, user="1000").output.count(b"K=v\n") == 1


@pytest.mark.row("E-005")
@pytest.mark.row("E-018")
def test_logs_stream_and_attach_talks(client: Any) -> None:
    here = client.containers.run("busybox", "cat", stdin_open=True, detach=True)
    sock = here.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    sock._sock.sendall(b"hello\n")
    data = b""
    while len(data) < 14:
        data += sock._sock.recv(100)
    assert data == b"\x01\x00\x00\x00\x00\x00\x00\x06hello\n"
    sock._sock.close()  # docker-py's own close leaves it open
    sock.close()
    assert here.logs(timestamps=False) == b"hello\n"
    follower = here.logs(stream=True, follow=True)
    assert next(iter(follower)) == b"hello\n"
    follower.close()
    here.kill()
    assert here.wait()["StatusCode"] == 137


@pytest.mark.row("E-023")
@pytest.mark.row("E-024")
@pytest.mark.row("E-006")
@pytest.mark.row("E-007")
def test_archives_go_in_and_out(client: Any) -> None:
    made = client.containers.create("busybox", "true")
    assert made.put_archive("/tmp", tar_of(f="abc"))
    pieces, found = made.get_archive("/tmp/f")
    assert (found["name"], found["size"], found["mode"], found["linkTarget"]) == ("f", 3, 0o644, "")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        assert archive.extractfile("f").read() == b"abc"  # type: ignore[union-attr]
    assert made.diff() == [{"Path": "/tmp", "Kind": 0}, {"Path": "/tmp/f", "Kind": 1}]
    with tarfile.open(fileobj=io.BytesIO(b"".join(made.export()))) as archive:
        assert archive.extractfile("tmp/f").read() == b"abc"  # type: ignore[union-attr]
    with pytest.raises(NotFound):
        made.get_archive("/none")


@pytest.mark.row("E-054")
@pytest.mark.row("E-062")
def test_volumes_and_networks_are_objects(client: Any) -> None:
    volume = client.volumes.create("kept", labels={"q": "r"})
    assert [one.name for one in client.volumes.list(filters={"label": "q=r"})] == ["kept"]
    network = client.networks.create("inner", labels={"q": "r"}, internal=True)
    here = client.containers.run("busybox", "sleep 100", detach=True, volumes={"kept": {"bind": "/v", "mode": "rw"}})
    network.connect(here, aliases=["web"])
    network.reload()
    assert [one.id for one in network.containers] == [here.id]
    assert network.attrs["Internal"] is True
    with pytest.raises(APIError) as refused:
        volume.remove()
    assert refused.value.status_code == 409
    network.disconnect(here)
    network.remove()
    here.remove(force=True)
    volume.remove()


@pytest.mark.row("E-008")
@pytest.mark.row("E-295")
def test_stats_have_what_the_percentage_is_made_of(client: Any) -> None:
    here = client.containers.run("busybox", "sh -c 'while :; do :; done'", detach=True, nano_cpus=200_000_000)
    found = here.stats(stream=False)
    now, before = found["cpu_stats"], found["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now["system_cpu_usage"] - before["system_cpu_usage"]
    assert 0 < used / passed * now["online_cpus"] < 0.5
    assert found["memory_stats"]["usage"] > 0
    assert found["name"] == f"/{here.name}"


@pytest.mark.row("E-044")
@pytest.mark.row("E-293")
def test_events_come_in_the_form_of_the_version(client: Any) -> None:
    since = int(time.time())
    client.containers.run("busybox", "true", remove=True, name="told")
    found = [
        one for one in client.events(since=since, until=int(time.time()) + 1, decode=True) if one["Type"] == "container"
    ]
    assert {"create", "start", "die", "destroy"} <= {one["Action"] for one in found}
    old = docker.utils.version_lt(client.api._version, "1.52")
    assert all(("status" in one) is old for one in found)


@pytest.mark.row("E-027")
@pytest.mark.row("E-249")
def test_build_finds_the_image_by_its_words(client: Any) -> None:
    image, said = client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo hi > /x\n"), tag="built", rm=True)
    assert any("Successfully built" in line.get("stream", "") for line in said)
    assert image.tags == ["built:latest"]
    assert client.containers.run("built", "cat /x", remove=True) == b"hi\n"
    client.images.remove("built")


@pytest.mark.row("E-084")
def test_leaving_a_swarm_by_force_is_fine(client: Any) -> None:
    assert client.swarm.leave(force=True)
    assert client.plugins.list() == []
