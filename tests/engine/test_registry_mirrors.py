"""onggi-registry as a cache of other registries: what is asked for further, and what is when they are away, slow or wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from onggi.errors import InvalidArgument
from onggi.registry import Registry
from onggi.registry.names import parse_repository
from onggi.registry.upstreams import Upstream, choose, parse_upstream, read_credentials
from tests.imaging import (
    OCI_INDEX,
    OCI_MANIFEST,
    RudeRegistry,
    digest,
    make_image,
    publish,
    room,
    rude_registry,
    upload,
)
from tests.tokenfront import TokenFront, token_front

IMAGE = make_image({"etc/one": os.urandom(4_000_000)})  # more than goes through memory at once
LAYER = digest(IMAGE.layers[0])
TAG = "/v2/app/manifests/v1"


@asynccontextmanager
async def caching(
    root: Path, host: str, prefix: str = "up", **words: object
) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """A registry that mirrors `host` below `prefix`: its address, and a session to ask it with."""
    registry = Registry(str(root), upstreams=[Upstream(prefix, host)], **words)
    port = await registry.listen("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", auto_decompress=False) as session:
        try:
            yield f"127.0.0.1:{port}", session
        finally:
            await session.close()
            await registry.close()


def with_cache(
    tmp_path: Path, test: Callable[[aiohttp.ClientSession, RudeRegistry], Awaitable[None]], **words: object
) -> None:
    async def run() -> None:
        async with rude_registry() as upstream, caching(tmp_path, upstream.host, **words) as (_, session):
            upstream.add("app", "v1", IMAGE)
            await test(session, upstream)

    asyncio.run(run())


async def get(session: aiohttp.ClientSession, path: str, **words: object) -> tuple[int, bytes, aiohttp.ClientResponse]:
    async with session.get(path, **words) as answer:
        return answer.status, await answer.read(), answer


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked")
@pytest.mark.row("I-246")
def test_an_engine_pulls_through_it_and_a_second_pull_leaves_the_upstream_alone(tmp_path: Path) -> None:
    async def run() -> None:
        async with rude_registry() as upstream, caching(tmp_path / "cache", upstream.host) as (host, _):
            upstream.add("app", "v1", IMAGE)
            for number in (1, 2):
                async with room(tmp_path / f"room{number}") as here:
                    await here.pull(f"{host}/up/app:v1")
                    assert here.images.resolve(f"{host}/up/app:v1").id == IMAGE.id
                assert [upstream.count(f"/v2/app/blobs/{name}") for name in (LAYER, IMAGE.id)] == [
                    2,
                    2,
                ]  # HEAD and GET, once
                assert upstream.count(TAG) == 2

    asyncio.run(run())


@pytest.mark.row("I-248", "I-254")
def test_a_tag_is_asked_for_by_head_after_a_while_and_a_digest_never_again(tmp_path: Path) -> None:
    newer = make_image({"etc/two": b"2"})

    async def test(session: aiohttp.ClientSession, upstream: RudeRegistry) -> None:
        for _ in range(3):
            assert (await get(session, "/v2/up/app/manifests/v1"))[:2] == (200, IMAGE.manifest)
            assert (await get(session, f"/v2/up/app/manifests/{digest(IMAGE.manifest)}"))[:2] == (200, IMAGE.manifest)
        assert upstream.count(f"/v2/app/manifests/{digest(IMAGE.manifest)}") == 0
        upstream.add("app", "v1", newer)
        assert (await get(session, "/v2/up/app/manifests/v1"))[1] == newer.manifest
        assert [method for method, path, _ in upstream.requests if path == TAG] == [
            "HEAD",
            "GET",
            "HEAD",
            "HEAD",
            "HEAD",
            "GET",
        ]

    with_cache(tmp_path, test, fresh_s=0.0)


@pytest.mark.row("I-249")
def test_what_is_here_is_given_with_a_warning_when_the_upstream_is_away(tmp_path: Path) -> None:
    async def test(session: aiohttp.ClientSession, upstream: RudeRegistry) -> None:
        assert (await get(session, "/v2/up/app/manifests/v1"))[0] == 200
        assert (await get(session, f"/v2/up/app/blobs/{LAYER}"))[1] == IMAGE.layers[0]
        await upstream.close()
        status, data, answer = await get(session, "/v2/up/app/manifests/v1")
        assert (status, data) == (200, IMAGE.manifest)
        assert answer.headers["Warning"].startswith("110 - ")
        assert (await get(session, f"/v2/up/app/blobs/{LAYER}"))[1] == IMAGE.layers[0]
        for path in ("/v2/up/app/manifests/v2", f"/v2/up/app/blobs/{IMAGE.id}"):
            status, data, answer = await get(session, path)
            assert (status, json.loads(data)["errors"][0]["code"], answer.headers["Retry-After"]) == (
                503,
                "UNAVAILABLE",
                "10",
            )

    with_cache(tmp_path, test, fresh_s=0.0)


@pytest.mark.row("I-250")
def test_many_who_wait_for_a_blob_get_it_while_it_comes_once(tmp_path: Path) -> None:
    half = len(IMAGE.layers[0]) // 2

    async def test(session: aiohttp.ClientSession, upstream: RudeRegistry) -> None:
        go_on = asyncio.Event()

        async def slow(request: web.BaseRequest, data: bytes) -> web.StreamResponse:
            if request.method == "HEAD":
                return web.Response(body=data)
            answer = web.StreamResponse(headers={"Content-Length": str(len(data))})
            await answer.prepare(request)
            await answer.write(data[:half])
            await go_on.wait()
            await answer.write(data[half:])
            return answer

        upstream.fault(f"/v2/app/blobs/{LAYER}", slow, slow, slow)
        async with (
            session.get(f"/v2/up/app/blobs/{LAYER}") as first,
            session.get(f"/v2/up/app/blobs/{LAYER}") as second,
        ):
            assert await first.content.readexactly(1000) == IMAGE.layers[0][:1000]  # the rest isn't even at the mirror
            assert await second.content.readexactly(1000) == IMAGE.layers[0][:1000]
            go_on.set()
            assert await first.read() == await second.read() == IMAGE.layers[0][1000:]
        assert [method for method, path, _ in upstream.requests if path.endswith(LAYER)].count("GET") == 1
        status, data, _ = await get(session, f"/v2/up/app/blobs/{LAYER}", headers={"Range": "bytes=10-19"})
        assert (status, data) == (206, IMAGE.layers[0][10:20])

    with_cache(tmp_path, test)


@pytest.mark.row("S-45")
def test_wrong_bytes_of_an_upstream_are_neither_kept_nor_taken_for_the_blob(tmp_path: Path) -> None:
    wrong = IMAGE.layers[0][:-1] + bytes([IMAGE.layers[0][-1] ^ 1])

    async def test(session: aiohttp.ClientSession, upstream: RudeRegistry) -> None:
        upstream.documents[f"/v2/app/blobs/{LAYER}"] = wrong, "application/octet-stream"
        # Refused, or broken off if some of it had gone out already: never whole.
        with contextlib.suppress(aiohttp.ClientError):
            assert (await get(session, f"/v2/up/app/blobs/{LAYER}"))[0] == 503
        upstream.add("app", "v1", IMAGE)
        assert (await get(session, f"/v2/up/app/blobs/{LAYER}"))[1] == IMAGE.layers[0]

    with_cache(tmp_path, test)


@pytest.mark.row("S-70")
def test_a_blob_that_is_here_shows_in_a_mirror_only_if_the_upstream_shows_it(tmp_path: Path) -> None:
    async def test(session: aiohttp.ClientSession, upstream: RudeRegistry) -> None:
        secret = b"pushed to a repository of our own"
        await upload(session, "private", secret)
        status, data, _ = await get(session, f"/v2/up/app/blobs/{digest(secret)}")
        assert (status, json.loads(data)["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")
        await upload(session, "private", IMAGE.layers[0])
        assert (await get(session, f"/v2/up/app/blobs/{LAYER}"))[1] == IMAGE.layers[0]
        assert [method for method, path, _ in upstream.requests if path.endswith(LAYER)] == ["HEAD"]

    with_cache(tmp_path, test)


@pytest.mark.row("I-251")
def test_what_the_upstream_lacks_is_not_asked_for_again_for_a_while(tmp_path: Path) -> None:
    async def test(session: aiohttp.ClientSession, upstream: RudeRegistry) -> None:
        for _ in range(3):
            status, data, _ = await get(session, "/v2/up/app/manifests/v9")
            assert (status, json.loads(data)["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
        assert len([path for _, path, _ in upstream.requests if path.endswith("/v9")]) <= 2

    with_cache(tmp_path, test)


@pytest.mark.row("I-195", "I-246")
def test_a_client_may_say_whose_images_it_means(tmp_path: Path) -> None:
    async def test(session: aiohttp.ClientSession, upstream: RudeRegistry) -> None:
        status, data, answer = await get(session, "/v2/app/manifests/v1", params={"ns": upstream.host})
        assert (status, data, answer.headers["OCI-Namespace"]) == (200, IMAGE.manifest, upstream.host)
        assert (await get(session, "/v2/app/manifests/v1"))[0] == 404  # without it, it's our own repository
        assert (await get(session, "/v2/app/manifests/v1", params={"ns": "else.example"}))[0] == 404

    with_cache(tmp_path, test)


def test_nothing_is_pushed_to_a_mirror_and_its_own_repositories_go_on(tmp_path: Path) -> None:
    async def test(session: aiohttp.ClientSession, _: RudeRegistry) -> None:
        async with session.post("/v2/up/app/blobs/uploads/") as answer:
            assert (answer.status, json.loads(await answer.read())["errors"][0]["code"]) == (405, "UNSUPPORTED")
        await publish(session, "own", "v1", IMAGE)
        assert (await get(session, "/v2/own/manifests/v1"))[1] == IMAGE.manifest

    with_cache(tmp_path, test)


@pytest.mark.row("I-252")
def test_tags_signatures_and_referrers_are_the_upstreams(tmp_path: Path) -> None:
    async def run() -> None:
        registry = Registry(str(tmp_path / "upstream"))
        port = await registry.listen("127.0.0.1", 0)
        host = f"127.0.0.1:{port}"
        async with (
            aiohttp.ClientSession(f"http://{host}") as there,
            caching(tmp_path / "cache", host, "") as (_, session),
        ):
            await publish(there, "app", "v1", IMAGE)
            about = {"mediaType": OCI_MANIFEST, "digest": digest(IMAGE.manifest), "size": len(IMAGE.manifest)}
            signature = json.dumps(
                {**json.loads(IMAGE.manifest), "artifactType": "application/x.sig", "subject": about}
            ).encode()
            tag = digest(IMAGE.manifest).replace(":", "-") + ".sig"
            headers = {"Content-Type": OCI_MANIFEST}
            async with there.put(f"/v2/app/manifests/{tag}", data=signature, headers=headers) as answer:
                assert answer.status == 201
            _, data, _ = await get(session, "/v2/app/tags/list")
            assert json.loads(data) == {"name": "app", "tags": [tag, "v1"]}
            assert (await get(session, f"/v2/app/manifests/{tag}"))[1] == signature
            _, data, answer = await get(session, f"/v2/app/referrers/{digest(IMAGE.manifest)}")
            assert [one["digest"] for one in json.loads(data)["manifests"]] == [digest(signature)]
            assert answer.headers["Content-Type"] == OCI_INDEX
            await registry.close()
            _, data, answer = await get(session, f"/v2/app/referrers/{digest(IMAGE.manifest)}")
            assert [one["digest"] for one in json.loads(data)["manifests"]] == [digest(signature)]
            _, data, answer = await get(session, "/v2/app/tags/list")
            assert (json.loads(data)["tags"], answer.headers["Warning"][:3]) == ([tag], "110")

    asyncio.run(run())


@pytest.mark.row("I-247")
def test_the_upstream_gets_the_mirrors_own_credentials(tmp_path: Path) -> None:
    async def run() -> None:
        front = TokenFront({"robot": "secret"})
        async with token_front(tmp_path / "upstream", front):
            assert front.session
            await publish(front.session, "app", "v1", IMAGE)
            config = json.dumps({"auths": {f"https://{front.host}/v2/": {"auth": "cm9ib3Q6c2VjcmV0"}}}).encode()
            async with caching(tmp_path / "cache", front.host, credentials=read_credentials(config)) as (_, session):
                assert (await get(session, "/v2/up/app/manifests/v1", headers={"Authorization": "Basic eDp5"}))[
                    1
                ] == IMAGE.manifest
            async with caching(tmp_path / "other", front.host) as (_, session):
                assert (await get(session, "/v2/up/app/manifests/v1"))[0] in (404, 503)

    asyncio.run(run())


def test_names_here_stand_for_names_there() -> None:
    hub, rest = parse_upstream("hub=docker.io"), parse_upstream("=reg.example:5000")
    assert str(hub.there(parse_repository("hub/redis"), "7")) == "docker.io/library/redis:7"
    assert (
        str(hub.there(parse_repository("hub/team/app"), "sha256:" + "0" * 64))
        == "docker.io/team/app@sha256:" + "0" * 64
    )
    assert str(rest.there(parse_repository("a/b"), "v1")) == "reg.example:5000/a/b:v1"
    name = parse_repository
    assert choose([rest, hub], name("hub/redis"), "") == (hub, "hub/redis")
    assert choose([rest, hub], name("hubris"), "") == (rest, "hubris")
    assert choose([hub], name("redis"), "") is None
    assert choose([hub], name("library/redis"), "docker.io") == (hub, "hub/library/redis")
    for text in ("docker.io", "hub=", "Hub=docker.io", "hub=https://docker.io"):
        with pytest.raises(Exception, match="invalid"):
            parse_upstream(text)
    with pytest.raises(InvalidArgument, match="credentials are no JSON"):
        read_credentials(b'{"auths": ["secret"]}')
    assert read_credentials(b'{"auths": {"https://index.docker.io/v1/": {}}, "credsStore": "x"}').keys() == {
        "docker.io"
    }
