"""A real engine for one test, on a data root of its own: bridge, firewall table, cgroups and addresses are its own too."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from onggi.doctor import Engine as DoctorEngine
from onggi.doctor import engine_tag, footprint
from onggi.engine.config import CreateBody, HealthConfig, HostConfig, NetworkingConfig, RestartPolicy
from onggi.engine.engine import Engine, EngineOptions
from onggi.engine.events import Event
from onggi.engine.logs import LogOptions
from onggi.errors import OnggiError
from onggi.images.importing import import_image
from onggi.oci.image import RunConfig
from onggi.oci.reference import parse_reference
from tests.patience import SLOW

BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "sh cat echo ls sleep true false id env hostname ip wget nslookup ps kill sed grep head tail touch mkdir rm stat dd nc printf "
    "test mount df readlink httpd yes seq cut tr wc chmod chown tty stty uname ping date usleep timeout"
).split()


def options(root: Path, **words: Any) -> EngineOptions:
    """An engine below `root` that shares no name with any other engine on the machine."""
    data_root = root / "data"
    data_root.mkdir(parents=True, exist_ok=True)
    words.setdefault("bridge", f"og-{engine_tag(data_root)}")
    return EngineOptions(data_root=str(data_root), exec_root=str(root / "exec"), **words)


def busybox_tar() -> bytes:
    """A root file system of busybox and the files that docker's images have too."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, mode in (
            ("bin", 0o755),
            ("etc", 0o755),
            ("tmp", 0o1777),
            ("root", 0o700),
            ("data", 0o755),
            ("var", 0o755),
        ):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        archive.add(BUSYBOX.resolve(), "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n"),
            ("etc/group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"),
            ("data/seed", "from the image\n"),
        ):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o644
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


async def add_image(engine: Engine, name: str = "busybox", config: RunConfig | None = None) -> str:
    """Imports busybox under `name`; its id."""

    async def pieces() -> AsyncIterator[bytes]:
        yield busybox_tar()

    image = await import_image(
        engine.images, pieces(), name=parse_reference(name), config=config or RunConfig(env=["PATH=/bin:/usr/bin"], cmd=["sh"])
    )  # fmt: skip
    return str(image.id)


async def clear(engine: Engine) -> None:
    """Removes containers, networks and volumes."""
    for container in list(engine.containers):
        with contextlib.suppress(OnggiError):
            await engine.containers.remove(container.id, force=True, volumes=True)
    for network in engine.networks.list():
        with contextlib.suppress(OnggiError):
            if not network.predefined:
                await engine.endpoints.remove_network(network.id)
    for volume in engine.volumes.list():
        with contextlib.suppress(OnggiError):
            await engine.volumes.remove(volume.name, force=True)


@contextlib.asynccontextmanager
async def an_engine(root: Path, **words: Any) -> AsyncIterator[Engine]:
    """Opened with a busybox image; at the end everything in it is removed and it is closed."""
    engine = await Engine.open(options(root, **words))
    try:
        if not len(engine.images):
            await add_image(engine)
        yield engine
    finally:
        await clear(engine)
        bridges = frozenset(network.bridge for network in engine.networks.list() if network.bridge)
        await engine.close()
    assert await left_over(engine, bridges) == []


async def left_over(engine: Engine, bridges: frozenset[str]) -> list[str]:
    """What a closed engine that had no containers any more has left on the machine."""
    where = DoctorEngine(engine.options.data_root_path, engine.options.exec_root_path, bridges)
    for _ in range(50 * SLOW):
        left = sorted(map(str, await asyncio.to_thread(footprint, where)))
        if not left:
            break
        await asyncio.sleep(0.05)  # the launcher's children end beside us
    return left


def with_engine(root: Path, test: Callable[[Engine], Awaitable[None]], **words: Any) -> None:
    """Runs `test` with an engine, in a loop of its own."""

    async def main() -> None:
        async with an_engine(root, **words) as engine:
            async with asyncio.timeout(60 * SLOW):
                await test(engine)

    asyncio.run(main())


def body(
    *command: str,
    image: str = "busybox",
    host: dict[str, Any] | None = None,
    networks: dict[str, Any] | None = None,
    **config: Any,
) -> CreateBody:
    """A create body; without a network unless `host` says one."""
    words: dict[str, Any] = {"network_mode": "none"} | (host or {})
    return CreateBody(
        image=image, cmd=list(command) or None, host_config=HostConfig(**words), networking_config=NetworkingConfig(networks or {}), **config
    )  # fmt: skip


async def run(engine: Engine, *command: str, name: str = "", **words: Any) -> str:
    """Created and started; its id."""
    created = await engine.containers.create(name, body(*command, **words))
    await engine.containers.start(created.id)
    return created.id


async def end_of(engine: Engine, container: str) -> int:
    return (await engine.containers.wait(container, "not-running")).exit_code


async def logs(engine: Engine, container: str) -> str:
    """Both streams without docker's frames."""
    data = b"".join(
        [
            piece
            async for piece in engine.streams.logs(
                engine.containers.get(container), LogOptions(stdout=True, stderr=True)
            )
        ]
    )
    if engine.containers.get(container).row.config.tty:
        return data.decode()
    return b"".join(content for _, content in frames(data)).decode()


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Docker's frames: (stream, bytes)."""
    found = []
    while data:
        size = int.from_bytes(data[4:8], "big")
        found.append((data[0], data[8 : 8 + size]))
        data = data[8 + size :]
    return found


async def output(engine: Engine, *command: str, **words: Any) -> str:
    """What a container says until its end; it is removed then. Fails when it ends with another code than 0."""
    container = await run(engine, *command, **words)
    code = await end_of(engine, container)
    text = await logs(engine, container)
    await engine.containers.remove(container, volumes=True)
    assert code == 0, text
    return text


async def execute(engine: Engine, container: str, *command: str, **words: Any) -> tuple[int, str]:
    """An exec's code and output."""
    from onggi.engine.config import ExecBody, ExecStartBody

    made = await engine.execs.create(
        container, ExecBody(cmd=list(command), attach_stdout=True, attach_stderr=True, **words)
    )
    attachment = await engine.execs.start(made, ExecStartBody(tty=words.get("tty", False)))
    data = await read_all(attachment.sock)
    text = data.decode() if attachment.tty else b"".join(content for _, content in frames(data)).decode()
    await asyncio.wait_for(engine.execs.get(made).ended.wait(), 10 * SLOW)
    code = engine.execs.inspect(made)["ExitCode"]
    assert isinstance(code, int)
    return code, text


async def read_all(sock: Any) -> bytes:
    """Everything until the other side ends."""
    loop, data = asyncio.get_running_loop(), b""
    with sock:
        while piece := await loop.sock_recv(sock, 65536):
            data += piece
    return data


def document(engine: Engine, container: str) -> dict[str, Any]:
    """inspect, decoded."""
    from onggi.engine import inspecting

    found: dict[str, Any] = msgspec.json.decode(inspecting.inspect(engine, engine.containers.get(container)))
    return found


def actions(events: list[Event]) -> list[str]:
    return [f"{event.Type} {event.Action}" for event in events]


@contextlib.asynccontextmanager
async def recorded(engine: Engine) -> AsyncIterator[list[Event]]:
    """Events while the block runs."""
    found: list[Event] = []
    ready = asyncio.Event()

    async def listen() -> None:
        stream = engine.events.subscribe()
        ready.set()
        async for event in stream:
            found.append(event)

    task = asyncio.get_running_loop().create_task(listen())
    await ready.wait()
    await asyncio.sleep(0)
    try:
        yield found
    finally:
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def policy(name: str, count: int = 0) -> dict[str, RestartPolicy]:
    return {"restart_policy": RestartPolicy(name, count)}


def healthcheck(
    *test: str, interval_s: float = 0.1, retries: int = 2, timeout_s: float = 1.0, start_period_s: float = 0
) -> HealthConfig:
    return HealthConfig(list(test), int(interval_s * 1e9), int(timeout_s * 1e9), int(start_period_s * 1e9), 0, retries)


needs_root = os.geteuid() != 0
