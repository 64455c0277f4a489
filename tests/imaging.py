"""Images made of tiny tars, registries to keep them, and rooms to pull them into. For tests."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import ssl
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from onggi.images import Images, RegistryOptions
from onggi.oci.reference import parse_reference
from onggi.registry import Access, Registry
from onggi.store.content import Content
from onggi.store.database import Database
from onggi.store.layers import Layers
from onggi.store.workers import Workers

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass
class TestImage:
    """An image as a registry has it. `layers` are packed."""

    __test__ = False

    layers: list[bytes]
    config: bytes
    manifest: bytes

    @property
    def blobs(self) -> list[bytes]:
        return [*self.layers, self.config]

    @property
    def id(self) -> str:
        return digest(self.config)


def make_image(*layers: dict[str, bytes], **config: object) -> TestImage:
    tars = [tar(files) for files in layers]
    packed = [gzip.compress(data, 1, mtime=0) for data in tars]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in tars]},
        **config,
    }
    return assemble(packed, json.dumps(document).encode())


def assemble(packed: list[bytes], config: bytes) -> TestImage:
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": OCI_LAYER, "digest": digest(data), "size": len(data)} for data in packed],
    }
    return TestImage(packed, config, json.dumps(manifest).encode())


@asynccontextmanager
async def serving(root: Path, access: Access | None = None) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """A real registry: its host:port, and a session to ask it with."""
    registry = Registry(str(root), access)
    port = await registry.listen("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", auto_decompress=False) as session:
        try:
            yield f"127.0.0.1:{port}", session
        finally:
            await session.close()
            await registry.close()


async def upload(session: aiohttp.ClientSession, repository: str, data: bytes) -> str:
    async with session.post(f"/v2/{repository}/blobs/uploads/?digest={digest(data)}", data=io.BytesIO(data)) as answer:
        assert answer.status == 201, await answer.text()
    return digest(data)


async def put_manifest(
    session: aiohttp.ClientSession, repository: str, reference: str, data: bytes, media_type: str = OCI_MANIFEST
) -> int:
    headers = {"Content-Type": media_type}
    async with session.put(f"/v2/{repository}/manifests/{reference}", data=data, headers=headers) as answer:
        return answer.status


async def publish(session: aiohttp.ClientSession, repository: str, tag: str, image: TestImage) -> None:
    for blob in image.blobs:
        await upload(session, repository, blob)
    assert await put_manifest(session, repository, tag, image.manifest) == 201


class Room:
    """The image room of an engine on a root of its own."""

    def __init__(self, root: Path, options: RegistryOptions | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.database = Database.open(root / "state.db")
        self.workers = Workers()
        self.content = Content(root)
        self.layers = Layers(root, self.content, self.workers)
        self.images = Images(self.content, self.layers, self.database, options or RegistryOptions(backoff_s=0.01))
        self.images.restore()
        self.messages: list[object] = []

    async def pull(self, name: str, **options: object) -> None:
        await self.images.pull(
            parse_reference(name, None), auth=None, platform=None, progress=self.messages.append, **options
        )

    async def push(self, name: str) -> None:
        await self.images.push(parse_reference(name, None), auth=None, progress=self.messages.append)

    async def load(self, archive: bytes) -> None:
        await self.images.load(pieces(archive), quiet=False, progress=self.messages.append)

    async def save(self, *names: str) -> bytes:
        return b"".join([piece async for piece in self.images.save(names)])

    def said(self) -> list[str]:
        """The words of all messages, layers' ids before theirs."""
        found = []
        for message in self.messages:
            identifier = getattr(message, "id", "")
            words = getattr(message, "status", None) or getattr(message, "stream", None)
            if words:
                found.append(f"{identifier}: {words}" if identifier else words.strip())
        return found

    async def close(self) -> None:
        await self.images.close()
        await self.workers.close()
        await self.database.close()


@asynccontextmanager
async def room(root: Path, options: RegistryOptions | None = None) -> AsyncIterator[Room]:
    made = Room(root, options)
    try:
        yield made
    finally:
        await made.close()


async def pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


Fault = Callable[[web.BaseRequest, bytes], Awaitable[web.StreamResponse]]


@dataclass
class RudeRegistry:
    """Speaks the real protocol, except where a test has put a fault: the first request for a path takes the first one."""

    documents: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    host: str = ""
    close: Callable[[], Awaitable[None]] = field(init=False)
    """Nobody answers any more."""

    def add(self, repository: str, tag: str, image: TestImage) -> None:
        for blob in image.blobs:
            self.documents[f"/v2/{repository}/blobs/{digest(blob)}"] = (blob, "application/octet-stream")
        for name in (tag, digest(image.manifest)):
            self.documents[f"/v2/{repository}/manifests/{name}"] = (image.manifest, OCI_MANIFEST)

    def fault(self, path: str, *faults: Fault) -> None:
        self.faults.setdefault(path, []).extend(faults)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.headers)))
        data, media_type = self.documents.get(request.path, (b"", ""))
        if self.faults.get(request.path):
            return await self.faults[request.path].pop(0)(request, data)
        if request.path == "/v2/":
            return web.Response(body=b"{}")
        if not media_type:
            return web.Response(
                status=404, body=b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
            )
        status, headers = 200, {"Content-Type": media_type}
        if "/manifests/" in request.path:
            headers["Docker-Content-Digest"] = digest(data)
        if wanted := request.headers.get("Range"):
            first = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            status, data = 206, data[first:]
        self.sent += len(data)
        return web.Response(status=status, body=data, headers=headers)

    def count(self, path: str) -> int:
        return sum(1 for _, asked, _ in self.requests if asked == path)


@asynccontextmanager
async def rude_registry(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[RudeRegistry]:
    registry = RudeRegistry()
    runner = web.ServerRunner(web.Server(registry.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, 0, ssl_context=tls).start()
    registry.host = f"{host}:{runner.addresses[0][1]}"
    registry.close = runner.cleanup
    try:
        yield registry
    finally:
        await runner.cleanup()


def breaks_off(after: int) -> Fault:
    """Promises everything, sends `after` bytes and hangs up."""

    async def fault(request: web.BaseRequest, data: bytes) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await answer.prepare(request)
        await answer.write(data[:after])
        # The bytes must be out before the connection goes.
        await asyncio.sleep(0.02)
        if request.transport:
            request.transport.close()
        return answer

    return fault


def stalls(after: int) -> Fault:
    """Sends `after` bytes and nothing more, for as long as anybody waits."""

    async def fault(request: web.BaseRequest, data: bytes) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await answer.prepare(request)
        await answer.write(data[:after])
        await asyncio.sleep(30)
        return answer

    return fault


def says(status: int, body: bytes = b"", **headers: str) -> Fault:
    async def fault(request: web.BaseRequest, data: bytes) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return fault


def sends(data: bytes, **headers: str) -> Fault:
    return says(200, data, **headers)


def names(images: Sequence[object]) -> list[str]:
    return [name for image in images for name in getattr(image, "tags", ())]
