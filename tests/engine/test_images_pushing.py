"""Pushes as registries see them: what comes in which order, where uploads may be sent, how many at a time; and pulls nobody waits for."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from onggi.images import RegistryOptions
from onggi.oci.reference import parse_reference
from tests.fronts import STATE, Front, fronting
from tests.imaging import digest, make_image, publish, room, serving, upload

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked")
IMAGE = make_image(*[{f"etc/{number}": bytes([number]) * 5000} for number in range(8)])


async def push_through(
    tmp_path: Path, front_words: dict[str, object], **options: int
) -> tuple[Front, list[tuple[int, bytes]]]:
    """Pushes IMAGE through a front; then what the registry has of its blobs and its manifest."""
    async with serving(tmp_path / "registry") as (host, session), fronting(Front(host, **front_words)) as front:
        async with room(tmp_path / "room", RegistryOptions(backoff_s=0.01, **options)) as here:
            async with serving(tmp_path / "source") as (source, there):
                await publish(there, "app", "v1", IMAGE)
                await here.pull(f"{source}/app:v1")
                await here.images.tag(
                    here.images.resolve(f"{source}/app:v1"), parse_reference(f"{front.host}/team/app:v1")
                )
            await here.push(f"{front.host}/team/app:v1")
        found = []
        for path in (*(f"blobs/{digest(blob)}" for blob in IMAGE.blobs), "manifests/v1"):
            async with session.get(f"/v2/team/app/{path}") as answer:
                found.append((answer.status, await answer.read()))
        return front, found


WHOLE = [*((200, blob) for blob in IMAGE.blobs), (200, IMAGE.manifest)]


@pytest.mark.row("I-101")
@pytest.mark.parametrize(
    "relocate",
    [f"http://{{host}}{{place}}?state={STATE}", f"{{place}}?state={STATE}", f"//{{host}}{{place}}?x&state={STATE}"],
)
def test_an_upload_goes_on_where_the_registry_says_in_its_own_spelling(tmp_path: Path, relocate: str) -> None:
    front, found = asyncio.run(push_through(tmp_path, {"relocate": relocate}))
    assert found == WHOLE
    assert {
        path.partition("?")[0].split("/")[1]
        for method, path in front.asked
        if method in ("PATCH", "PUT") and "manifests" not in path
    } == {"elsewhere"}


@pytest.mark.row("I-108")
def test_the_tag_comes_after_everything_that_it_leads_to(tmp_path: Path) -> None:
    front, found = asyncio.run(push_through(tmp_path, {}))
    assert found == WHOLE
    writes = [path for method, path in front.asked if method in ("POST", "PATCH", "PUT")]
    assert writes[-1] == "/v2/team/app/manifests/v1"
    assert sum("/manifests/" in path for path in writes) == 1


@pytest.mark.row("I-103")
@pytest.mark.parametrize("limit", [1, 3])
def test_so_many_layers_go_at_once(tmp_path: Path, limit: int) -> None:
    front, found = asyncio.run(push_through(tmp_path, {"delay_s": 0.05}, uploads=limit))
    assert found == WHOLE
    assert front.most_at_once == limit


@pytest.mark.row("I-103")
def test_an_upload_that_fails_is_tried_again(tmp_path: Path) -> None:
    class Busy(Front):
        async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
            if request.method == "POST" and sum(method == "POST" for method, _ in self.asked) < 3:
                self.asked.append((request.method, request.path))
                return web.Response(status=503, headers={"Retry-After": "0"})
            return await super().answer(request)

    async def run() -> None:
        async with (
            serving(tmp_path / "registry") as (host, session),
            fronting(Busy(host)) as front,
            room(tmp_path / "room") as here,
        ):
            async with serving(tmp_path / "source") as (source, there):
                await publish(there, "app", "v1", IMAGE)
                await here.pull(f"{source}/app:v1")
                await here.images.tag(here.images.resolve(f"{source}/app:v1"), parse_reference(f"{front.host}/app:v1"))
            await here.push(f"{front.host}/app:v1")
            async with session.get("/v2/app/manifests/v1") as answer:
                assert await answer.read() == IMAGE.manifest

    asyncio.run(run())


@pytest.mark.row("I-020")
def test_statements_about_an_image_are_never_taken_for_it(tmp_path: Path) -> None:
    """An index of buildx: the image, and provenance under the platform unknown/unknown."""
    image = make_image({"etc/one": b"1"})

    async def run() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "room") as here:
            await publish(session, "app", "built", image)
            statement = json.loads(image.manifest) | {
                "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}
            }
            data = json.dumps(statement).encode()
            assert (await put(session, "app", digest(data), data)) == 201
            entries = [
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(data), "size": len(data),
                 "annotations": {"vnd.docker.reference.type": "attestation-manifest"}, "platform": {"os": "unknown", "architecture": "unknown"}},
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(image.manifest), "size": len(image.manifest),
                 "platform": {"os": "linux", "architecture": "amd64"}},
            ]  # fmt: skip
            index = json.dumps(
                {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
            ).encode()
            assert (await put(session, "app", "v1", index, "application/vnd.oci.image.index.v1+json")) == 201
            await here.pull(f"{host}/app:v1")
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", here.images.resolve(f"{host}/app:v1").id)
            assert here.images.resolve(f"{host}/app:v1").id == image.id

    async def put(
        session: aiohttp.ClientSession,
        repository: str,
        reference: str,
        data: bytes,
        kind: str = "application/vnd.oci.image.manifest.v1+json",
    ) -> int:
        async with session.put(
            f"/v2/{repository}/manifests/{reference}", data=data, headers={"Content-Type": kind}
        ) as answer:
            return answer.status

    asyncio.run(run())


def test_a_blob_that_the_registry_has_is_not_sent(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            serving(tmp_path / "registry") as (host, session),
            fronting(Front(host)) as front,
            room(tmp_path / "room") as here,
        ):
            for blob in IMAGE.layers[:5]:
                await upload(session, "app", blob)
            async with serving(tmp_path / "source") as (source, there):
                await publish(there, "app", "v1", IMAGE)
                await here.pull(f"{source}/app:v1")
                await here.images.tag(here.images.resolve(f"{source}/app:v1"), parse_reference(f"{front.host}/app:v1"))
            await here.push(f"{front.host}/app:v1")
            assert [method for method, _ in front.asked].count("PATCH") == len(IMAGE.blobs) - 5
            assert sum("Layer already exists" in line for line in here.said()) == 5

    asyncio.run(run())
