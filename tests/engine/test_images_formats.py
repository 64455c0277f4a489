"""What registries hold: docker's and OCI's documents of every age, odd layers, artifacts; and how little a second pull asks for."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import zstandard
from aiohttp import web

from onggi.errors import Corrupt, InvalidArgument, NoSpace, NotFound, Unavailable
from onggi.images import RegistryOptions
from onggi.images.progress import Message
from onggi.oci.reference import parse_reference
from tests.fronts import Front, fronting
from tests.imaging import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Room,
    RudeRegistry,
    TestImage,
    assemble,
    digest,
    make_image,
    publish,
    put_manifest,
    room,
    rude_registry,
    serving,
    tar,
    upload,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked")
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE = make_image({"etc/one": b"1" * 1000}, {"etc/two": b"2"})
TAG = "/v2/app/manifests/v1"


def with_registry(tmp_path: Path, test: Callable[[Room, RudeRegistry], Awaitable[None]], **options: int) -> None:
    async def run() -> None:
        async with (
            rude_registry() as registry,
            room(tmp_path, RegistryOptions(backoff_s=0.01, tries=2, **options)) as here,
        ):
            await test(here, registry)

    asyncio.run(run())


def changed(image: TestImage, **fields: object) -> TestImage:
    """With other fields in its manifest."""
    return TestImage(image.layers, image.config, json.dumps({**json.loads(image.manifest), **fields}).encode())


def layers_of(here: Room, name: str) -> list[list[str]]:
    return [sorted(os.listdir(here.layers.path(layer))) for layer in here.images.resolve(name).layers]


@pytest.mark.row("I-010", "I-145")
def test_dockers_manifests_and_lists_are_pulled_and_looked_up_like_ocis(tmp_path: Path) -> None:
    docker = json.loads(IMAGE.manifest)
    docker |= {"mediaType": DOCKER_MANIFEST}
    docker["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    for layer in docker["layers"]:
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    manifest = json.dumps(docker, indent=3).encode()
    platform = {"architecture": "amd64", "os": "linux"}
    descriptor = {"mediaType": DOCKER_MANIFEST, "digest": digest(manifest), "size": len(manifest), "platform": platform}
    listed = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": [descriptor]}).encode()

    async def run() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            for blob in IMAGE.blobs:
                await upload(session, "app", blob)
            assert await put_manifest(session, "app", "one", manifest, DOCKER_MANIFEST) == 201
            assert await put_manifest(session, "app", "list", listed, DOCKER_INDEX) == 201
            for tag, data in (("one", manifest), ("list", listed)):
                await here.pull(f"{host}/app:{tag}")
                assert f"{host}/app@{digest(data)}" in here.images.resolve(f"{host}/app:{tag}").digests
                found = await here.images.look_up(parse_reference(f"{host}/app:{tag}"), auth=None)
                assert found.descriptor == {
                    "mediaType": json.loads(data)["mediaType"],
                    "digest": digest(data),
                    "size": len(data),
                }
                assert [(one.os, one.architecture) for one in found.platforms] == [("linux", "amd64")]

    asyncio.run(run())


@pytest.mark.row("I-011")
@pytest.mark.parametrize(
    "media_type", ["application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json"]
)
def test_manifests_of_the_first_schema_are_refused_in_dockers_words(tmp_path: Path, media_type: str) -> None:
    old = {
        "schemaVersion": 1,
        "name": "app",
        "tag": "v1",
        "fsLayers": [{"blobSum": digest(b"")}],
        "history": [{"v1Compatibility": "{}"}],
    }

    async def test(here: Room, registry: RudeRegistry) -> None:
        registry.documents[TAG] = json.dumps(old).encode(), media_type
        with pytest.raises(
            InvalidArgument,
            match="^Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed",
        ):
            await here.pull(f"{registry.host}/app:v1")

    with_registry(tmp_path, test)


@pytest.mark.row("I-013", "I-012", "I-021")
def test_what_we_do_not_know_in_a_manifest_and_a_config_goes_through_us_unchanged(tmp_path: Path) -> None:
    config = {
        "x-config": {"a": [1, None]},
        "config": {"Cmd": ["true"], "X-Mine": "kept", "Healthcheck": {"Test": ["NONE"]}, "ArgsEscaped": True},
    }
    image = changed(
        make_image({"etc/one": b"1"}, **config),
        **{"x-field": [1, {"b": None}], "annotations": {"org.opencontainers.image.title": "jar"}},
    )

    async def run() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            await publish(session, "app", "v1", image)
            await here.pull(f"{host}/app:v1")
            saved = await here.save(f"{host}/app:v1")
            await here.images.tag(here.images.resolve(f"{host}/app:v1"), parse_reference(f"{host}/copy:v1"))
            await here.push(f"{host}/copy:v1")
            for path, data in (
                (f"manifests/{digest(image.manifest)}", image.manifest),
                (f"blobs/{image.id}", image.config),
            ):
                async with session.get(f"/v2/copy/{path}") as answer:
                    assert await answer.read() == data
            async with room(tmp_path / "other") as other:
                await other.load(saved)
                assert other.images.resolve(f"{host}/app:v1").id == image.id

    asyncio.run(run())


@pytest.mark.row("I-014")
def test_bytes_that_a_descriptor_carries_are_used_if_they_are_right(tmp_path: Path) -> None:
    def carrying(data: bytes) -> TestImage:
        config = {**json.loads(IMAGE.manifest)["config"], "data": base64.b64encode(data).decode()}
        return changed(IMAGE, config=config)

    async def test(here: Room, registry: RudeRegistry) -> None:
        registry.add("app", "v1", carrying(IMAGE.config))
        registry.add("app", "lie", carrying(IMAGE.config.replace(b"linux", b"winux")))
        del registry.documents[f"/v2/app/blobs/{IMAGE.id}"]
        await here.pull(f"{registry.host}/app:v1")
        assert here.images.resolve(f"{registry.host}/app:v1").id == IMAGE.id
        with pytest.raises(Corrupt, match="image config verification failed"):
            await here.pull(f"{registry.host}/app:lie")

    with_registry(tmp_path, test)


@pytest.mark.row("I-017")
def test_layers_made_for_lazy_pulls_are_ordinary_layers(tmp_path: Path) -> None:
    """eStargz: a gzip member a file, the table of contents as a last file. zstd:chunked: frames, the table in a skippable one."""
    first, second = tar({"bin/one": b"1" * 5000, "stargz.index.json": b"{}"}), tar({"bin/two": b"2" * 5000})
    members = b"".join(gzip.compress(first[at : at + 1024]) for at in range(0, len(first), 1024)) + gzip.compress(b"")
    frames = b"".join(zstandard.compress(second[at : at + 3000]) for at in range(0, len(second), 3000))
    skipped = b"table of contents"
    frames += (0x184D2A50).to_bytes(4, "little") + len(skipped).to_bytes(4, "little") + skipped
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(first), digest(second)]},
    }
    image = assemble([members, frames], json.dumps(config).encode())
    manifest = json.loads(image.manifest)
    manifest["layers"][0]["annotations"] = {"containerd.io/snapshot/stargz/toc.digest": digest(b"{}")}
    manifest["layers"][1] |= {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
        "annotations": {"io.github.containers.zstd-chunked.manifest-position": "1:2:3:1"},
    }

    async def test(here: Room, registry: RudeRegistry) -> None:
        registry.add("app", "v1", changed(image, layers=manifest["layers"]))
        await here.pull(f"{registry.host}/app:v1")
        assert layers_of(here, f"{registry.host}/app:v1") == [["bin", "stargz.index.json"], ["bin"]]

    with_registry(tmp_path, test)


@pytest.mark.row("I-018")
def test_encrypted_layers_are_called_so_before_anything_is_fetched(tmp_path: Path) -> None:
    layers = json.loads(IMAGE.manifest)["layers"]
    layers[1]["mediaType"] += "+encrypted"

    async def test(here: Room, registry: RudeRegistry) -> None:
        registry.add("app", "v1", changed(IMAGE, layers=layers))
        with pytest.raises(
            InvalidArgument, match=f"layer {layers[1]['digest']} is encrypted .*: encrypted images are not supported"
        ):
            await here.pull(f"{registry.host}/app:v1")
        assert not [path for _, path, _ in registry.requests if "/blobs/" in path]

    with_registry(tmp_path, test)


@pytest.mark.row("I-015")
def test_layers_that_may_not_be_given_on_are_fetched_from_the_registry_alone(tmp_path: Path) -> None:
    layers = json.loads(IMAGE.manifest)["layers"]
    layers[0] |= {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}

    async def test(here: Room, registry: RudeRegistry) -> None:
        layers[0]["urls"] = [f"http://{registry.host}/elsewhere"]
        registry.add("app", "v1", changed(IMAGE, layers=layers))
        await here.pull(f"{registry.host}/app:v1")
        assert layers_of(here, f"{registry.host}/app:v1") == [["etc"], ["etc"]]
        assert registry.count("/elsewhere") == 0

    with_registry(tmp_path, test)


@pytest.mark.row("I-024")
def test_an_artifact_is_called_by_its_type(tmp_path: Path) -> None:
    config = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(b"{}"), "size": 2}

    async def test(here: Room, registry: RudeRegistry) -> None:
        registry.add("chart", "1", changed(IMAGE, config=config))
        with pytest.raises(
            InvalidArgument, match="is no image but an artifact of type application/vnd.cncf.helm.config"
        ):
            await here.pull(f"{registry.host}/chart:1")

    with_registry(tmp_path, test)


@pytest.mark.row("I-064", "I-070")
def test_a_pull_of_what_is_here_asks_for_the_digest_alone(tmp_path: Path) -> None:
    newer = make_image({"etc/one": b"1" * 1000}, {"etc/three": b"3"})

    async def run() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            await publish(session, "app", "v1", IMAGE)
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
                {"mediaType": OCI_MANIFEST, "digest": digest(IMAGE.manifest), "size": len(IMAGE.manifest), "platform": {"os": "linux", "architecture": "amd64"}}]}  # fmt: skip
            assert await put_manifest(session, "app", "v1", json.dumps(index).encode(), OCI_INDEX) == 201
            async with fronting(Front(host)) as front:
                asked = front.asked
                await here.pull(f"{front.host}/app:v1")
                assert [method for method, path in asked if "/manifests/" in path] == ["GET", "GET"]
                asked.clear()
                here.messages.clear()
                await here.pull(f"{front.host}/app:v1")
                assert [(method, path) for method, path in asked if "/manifests/" in path] == [
                    ("HEAD", "/v2/app/manifests/v1")
                ]
                assert f"Status: Image is up to date for {front.host}/app:v1" in here.said()

                await publish(session, "app", "v1", newer)
                asked.clear()
                here.messages.clear()
                await here.pull(f"{front.host}/app:v1")
                assert [method for method, path in asked if "/manifests/" in path] == ["HEAD", "GET"]
                shared, new = (digest(layer) for layer in newer.layers)
                assert f"{shared[7:19]}: Already exists" in here.said()
                assert {path for _, path in asked if "/blobs/" in path} == {
                    f"/v2/app/blobs/{new}",
                    f"/v2/app/blobs/{newer.id}",
                }

    asyncio.run(run())


@pytest.mark.row("I-099")
def test_an_image_that_has_no_room_is_refused_before_a_byte_of_it_comes(tmp_path: Path) -> None:
    layers = json.loads(IMAGE.manifest)["layers"]
    layers[0]["size"] = 2**60

    async def test(here: Room, registry: RudeRegistry) -> None:
        registry.add("app", "v1", changed(IMAGE, layers=layers))
        with pytest.raises(NoSpace, match=r"^no space left on device: the image needs more than 2306PB, .* are free"):
            await here.pull(f"{registry.host}/app:v1")
        assert registry.count(f"/v2/app/blobs/{layers[0]['digest']}") == 0
        assert len(here.images) == 0

    with_registry(tmp_path, test)


@pytest.mark.row("I-066")
def test_so_many_layers_come_at_once_and_the_number_may_change(tmp_path: Path) -> None:
    def image(name: str) -> TestImage:
        return make_image(*[{f"{name}{number}": bytes([number]) * 9000} for number in range(8)])

    async def test(here: Room, registry: RudeRegistry) -> None:
        for limit, name in ((2, "a"), (5, "b")):
            at_once, most = 0, 0

            async def slow(_: web.BaseRequest, data: bytes) -> web.StreamResponse:
                nonlocal at_once, most
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0.05)
                at_once -= 1
                return web.Response(body=data)

            registry.add(name, "v1", made := image(name))
            for layer in made.layers:
                registry.fault(f"/v2/{name}/blobs/{digest(layer)}", slow)
            here.images.reconfigure(RegistryOptions(downloads=limit))
            await here.pull(f"{registry.host}/{name}:v1")
            assert most == limit

    with_registry(tmp_path, test, downloads=2)


@pytest.mark.row("I-092")
def test_a_layer_tells_of_itself_ten_times_a_second_at_most_and_always_how_it_ended(tmp_path: Path) -> None:
    big = make_image({"big": os.urandom(600_000)})
    name = digest(big.layers[0])[7:19]

    async def drips(request: web.BaseRequest, data: bytes) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await answer.prepare(request)
        for at in range(0, len(data), 6000):
            await answer.write(data[at : at + 6000])
            await asyncio.sleep(0.005)
        return answer

    async def test(here: Room, registry: RudeRegistry) -> None:
        registry.add("app", "v1", big)
        registry.fault(f"/v2/app/blobs/{digest(big.layers[0])}", drips)
        began = asyncio.get_running_loop().time()
        await here.pull(f"{registry.host}/app:v1")
        seconds = asyncio.get_running_loop().time() - began
        told = [message for message in here.messages if isinstance(message, Message) and message.id == name]
        for status in ("Downloading", "Extracting"):
            assert sum(message.status == status for message in told) <= 10 * seconds + 2
        assert told[-1].status == "Pull complete"

    with_registry(tmp_path, test)


@pytest.mark.row("I-019")
def test_a_platform_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def test(here: Room, registry: RudeRegistry) -> None:
        with pytest.raises(NotFound, match="manifest for .*/app:v1 not found"):
            await here.pull(f"{registry.host}/app:v1")
        registry.documents[TAG] = (
            json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode(),
            OCI_INDEX,
        )
        with pytest.raises(NotFound, match="no matching manifest for linux/amd64.* in the manifest list entries"):
            await here.pull(f"{registry.host}/app:v1")
        registry.documents[TAG] = b"<html>", "text/html"
        with pytest.raises((InvalidArgument, Unavailable), match="manifest invalid"):
            await here.pull(f"{registry.host}/app:v1")

    with_registry(tmp_path, test)
