"""aiodocker, whose streams are asyncio's: exec, attach, logs, stats, events and archives as its users write them."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiodocker
import pytest

from tests.clients.daemon import Daemon, running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


def with_docker(daemon: Daemon, test: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        async with aiodocker.Docker(url=daemon.host) as docker, asyncio.timeout(60):
            await test(docker)

    asyncio.run(main())


def body(*command: str, **config: Any) -> dict[str, Any]:
    return {"Image": "busybox", "Cmd": list(command), "HostConfig": {"NetworkMode": "none"}, **config}


@pytest.mark.row("E-049", "E-050", "E-052")
def test_an_exec_talks_both_ways_and_tells_its_code(daemon: Daemon) -> None:
    async def main(docker: Any) -> None:
        container = await docker.containers.run(body("sleep", "600"), name="aio-exec")
        made = await container.exec(["sh", "-c", "read line; echo got $line; echo bad >&2; exit 7"], stdin=True)
        async with made.start(detach=False) as stream:
            await stream.write_in(b"word\n")
            said = []
            while message := await stream.read_out():
                said.append((message.stream, message.data))
        assert sorted(said) == [(1, b"got word\n"), (2, b"bad\n")]
        assert (await made.inspect())["ExitCode"] == 7
        quiet = await container.exec(["true"])
        assert await quiet.start(detach=True) == b""
        await container.delete(force=True)

    with_docker(daemon, main)


@pytest.mark.row("E-018", "E-240", "E-242")
def test_an_attach_before_the_start_sees_everything(daemon: Daemon) -> None:
    async def main(docker: Any) -> None:
        config = body("sh", "-c", "echo first; read line; echo $line", OpenStdin=True, StdinOnce=True)
        container = await docker.containers.create(config, name="aio-attach")
        async with container.attach(stdin=True, stdout=True, stderr=True) as stream:
            await container.start()
            assert (await stream.read_out()).data == b"first\n"
            await stream.write_in(b"second\n")
            assert (await stream.read_out()).data == b"second\n"
            assert await stream.read_out() is None
        assert (await container.wait())["StatusCode"] == 0
        await container.delete()

    with_docker(daemon, main)


@pytest.mark.row("E-005", "E-308")
def test_logs_come_as_a_list_and_as_they_are_written_also_from_a_local_log(daemon: Daemon) -> None:
    async def main(docker: Any) -> None:
        config = body("sh", "-c", "for i in 1 2 3; do echo line$i; usleep 50000; done")
        config["HostConfig"]["LogConfig"] = {"Type": "local", "Config": {"mode": "non-blocking"}}
        container = await docker.containers.run(config, name="aio-logs")
        followed = [piece async for piece in container.log(stdout=True, follow=True)]
        assert "".join(followed) == "line1\nline2\nline3\n"
        assert "".join(await container.log(stdout=True, tail=1)) == "line3\n"
        await container.delete(force=True)

    with_docker(daemon, main)


@pytest.mark.row("E-008", "E-298")
def test_stats_stream_one_object_a_second(daemon: Daemon) -> None:
    async def main(docker: Any) -> None:
        container = await docker.containers.run(body("sleep", "600"), name="aio-stats")
        [once] = await container.stats(stream=False)
        assert once["memory_stats"]["usage"] > 0
        reads = []
        async for sample in container.stats(stream=True):
            reads.append(sample["precpu_stats"]["cpu_usage"]["total_usage"])
            if len(reads) == 2:
                break
        assert reads[0] == 0
        assert reads[1] > 0
        await container.delete(force=True)

    with_docker(daemon, main)


@pytest.mark.row("E-023", "E-024")
def test_archives_are_tar_files(daemon: Daemon) -> None:
    async def main(docker: Any) -> None:
        container = await docker.containers.run(body("sleep", "600"), name="aio-files")
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            info = tarfile.TarInfo("file")
            info.size = 5
            archive.addfile(info, io.BytesIO(b"hello"))
        await container.put_archive("/tmp", out.getvalue())
        archive = await container.get_archive("/tmp/file")
        file = archive.extractfile("file")
        assert file is not None
        assert file.read() == b"hello"
        await container.delete(force=True)

    with_docker(daemon, main)


@pytest.mark.row("E-044", "E-255")
def test_events_are_told_to_a_subscriber(daemon: Daemon) -> None:
    async def main(docker: Any) -> None:
        subscriber = docker.events.subscribe()
        await asyncio.sleep(0.2)
        container = await docker.containers.run(body("true"), name="aio-events")
        await container.wait()
        await container.delete()
        seen: list[str] = []
        while not seen or seen[-1] != "destroy":
            event = await subscriber.get()
            if event["Type"] == "container" and event["Actor"]["Attributes"]["name"] == "aio-events":
                seen.append(event["Action"])
        assert seen == ["create", "start", "die", "destroy"]
        await docker.events.stop()

    with_docker(daemon, main)


@pytest.mark.row("E-005", "E-018")
def test_a_test_suites_way_of_waiting_for_a_line_works(daemon: Daemon) -> None:
    """As testcontainers does it: start, look at the log until a line is there, exec, copy out, remove by force."""

    async def main(docker: Any) -> None:
        config = body("sh", "-c", "usleep 200000; echo database system is ready; sleep 600", Labels={"session": "x"})
        container = await docker.containers.run(config, name="aio-suite")
        for _ in range(200):
            if any("is ready" in line for line in await container.log(stdout=True, stderr=True)):
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the line never came")
        [found] = await docker.containers.list(filters={"label": ["session=x"]})
        assert found.id == container.id
        await container.delete(force=True, v=True)

    with_docker(daemon, main)
