"""The registry as a client sees it: a real server on a loopback port."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
from pathlib import Path

import aiohttp
import pytest

from tests.imaging import OCI_INDEX, OCI_MANIFEST, assemble, digest, make_image, publish, put_manifest, serving, upload

DATA = b"0123456789" * 100


def run(root: Path, test, access=None) -> None:
    async def main() -> None:
        async with serving(root, access) as (_, session):
            await test(session)

    asyncio.run(main())


async def begin(session: aiohttp.ClientSession, repository: str = "a/b") -> str:
    async with session.post(f"/v2/{repository}/blobs/uploads/") as answer:
        assert answer.status == 202
        return answer.headers["Location"]


async def codes(answer: aiohttp.ClientResponse) -> list[str]:
    return [entry["code"] for entry in json.loads(await answer.read())["errors"]]


@pytest.mark.row("I-178")
def test_base_names_the_api_version(tmp_path):
    async def test(session):
        async with session.get("/v2/") as answer:
            assert answer.status == 200
            assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"

    run(tmp_path, test)


@pytest.mark.row("I-184")
@pytest.mark.row("I-185")
def test_a_blob_pushed_in_chunks_is_there_whole(tmp_path):
    async def test(session):
        location = await begin(session)
        for first in range(0, 1000, 250):
            chunk = DATA[first : first + 250]
            headers = {"Content-Range": f"{first}-{first + 249}"}
            async with session.patch(location, data=chunk, headers=headers) as answer:
                assert answer.status == 202
                assert answer.headers["Range"] == f"0-{first + 249}"
                location = answer.headers["Location"]
        async with session.put(f"{location}?digest={digest(DATA)}") as answer:
            assert answer.status == 201
            assert answer.headers["Docker-Content-Digest"] == digest(DATA)
            where = answer.headers["Location"]
        async with session.get(where) as answer:
            assert await answer.read() == DATA

    run(tmp_path, test)


@pytest.mark.row("R-36")
@pytest.mark.parametrize("content_range", ["10-19", "0-99999", "5-0", "x-y", "-5-9"])
def test_a_chunk_at_the_wrong_place_is_refused_and_nothing_of_it_stays(tmp_path, content_range):
    async def test(session):
        location = await begin(session)
        async with session.patch(location, data=b"x" * 10, headers={"Content-Range": content_range}) as answer:
            assert answer.status == 416
        async with session.get(location) as answer:
            assert (answer.status, answer.headers["Range"]) == (204, "0-0")

    run(tmp_path, test)


@pytest.mark.row("R-36")
@pytest.mark.parametrize("length", [5, 20])
def test_a_chunk_of_another_length_than_promised_is_taken_back(tmp_path, length):
    async def body():
        yield b"y" * length

    async def test(session):
        location = await begin(session)
        async with session.patch(location, data=b"0123456789", headers={"Content-Range": "0-9"}) as answer:
            assert answer.status == 202
        async with session.patch(location, data=body(), headers={"Content-Range": "10-19"}) as answer:
            assert answer.status == 400
            assert await codes(answer) == ["SIZE_INVALID"]
        async with session.get(location) as answer:
            assert answer.headers["Range"] == "0-9"

    run(tmp_path, test)


@pytest.mark.row("R-36")
@pytest.mark.row("I-204")
def test_an_upload_goes_on_after_a_restart_and_at_another_replica(tmp_path):
    async def main() -> None:
        async with serving(tmp_path) as (_, session):
            location = await begin(session)
            async with session.patch(location, data=DATA[:400]) as answer:
                assert answer.status == 202
        async with serving(tmp_path) as (_, first), serving(tmp_path) as (_, second):
            async with first.patch(location, data=DATA[400:700], headers={"Content-Range": "400-699"}) as answer:
                assert answer.status == 202
            async with second.put(f"{location}?digest={digest(DATA)}", data=DATA[700:]) as answer:
                assert answer.status == 201
            async with first.get(f"/v2/a/b/blobs/{digest(DATA)}") as answer:
                assert await answer.read() == DATA

    asyncio.run(main())


@pytest.mark.row("R-36")
@pytest.mark.row("S-45")
def test_a_wrong_digest_stores_nothing(tmp_path):
    async def test(session):
        location = await begin(session)
        wrong = digest(b"something else")
        async with session.put(f"{location}?digest={wrong}", data=DATA) as answer:
            assert answer.status == 400
            assert await codes(answer) == ["DIGEST_INVALID"]
        async with session.get(f"/v2/a/b/blobs/{wrong}") as answer:
            assert answer.status == 404
        async with session.get(location) as answer:
            assert await codes(answer) == ["BLOB_UPLOAD_UNKNOWN"]
        assert not list((tmp_path / "blobs" / "sha256").iterdir())
        assert not list((tmp_path / "uploads").iterdir())

    run(tmp_path, test)


@pytest.mark.row("I-008")
def test_sha512_blobs_are_stored_under_their_own_digest(tmp_path):
    async def test(session):
        name = "sha512:" + hashlib.sha512(DATA).hexdigest()
        async with session.post("/v2/a/b/blobs/uploads/?digest-algorithm=sha512") as answer:
            location = answer.headers["Location"]
        async with session.put(f"{location}?digest={name}", data=DATA) as answer:
            assert answer.status == 201
        async with session.get(f"/v2/a/b/blobs/{name}") as answer:
            assert await answer.read() == DATA

    run(tmp_path, test)


@pytest.mark.row("I-193")
def test_a_cancelled_upload_is_gone(tmp_path):
    async def test(session):
        location = await begin(session)
        async with session.delete(location) as answer:
            assert answer.status == 204
        async with session.patch(location, data=DATA) as answer:
            assert answer.status == 404

    run(tmp_path, test)


@pytest.mark.row("S-70")
def test_an_upload_belongs_to_its_repository(tmp_path):
    async def test(session):
        location = await begin(session, "mine")
        for method in ("get", "patch", "put", "delete"):
            stolen = location.replace("/mine/", "/yours/") + f"?digest={digest(DATA)}"
            async with session.request(method, stolen, data=DATA if method in ("patch", "put") else None) as answer:
                assert answer.status == 404, method

    run(tmp_path, test)


@pytest.mark.row("S-70")
@pytest.mark.row("I-191")
def test_a_blob_shows_in_the_repositories_it_was_pushed_or_mounted_into_alone(tmp_path):
    async def test(session):
        name = await upload(session, "one", DATA)
        async with session.head(f"/v2/two/blobs/{name}") as answer:
            assert answer.status == 404
        async with session.post(f"/v2/two/blobs/uploads/?mount={name}&from=three") as answer:
            assert answer.status == 202
        async with session.post(f"/v2/two/blobs/uploads/?mount={name}&from=one") as answer:
            assert answer.status == 201
        async with session.delete(f"/v2/one/blobs/{name}") as answer:
            assert answer.status == 202
        async with session.get(f"/v2/one/blobs/{name}") as answer:
            assert answer.status == 404
        async with session.get(f"/v2/two/blobs/{name}") as answer:
            assert await answer.read() == DATA

    run(tmp_path, test)


@pytest.mark.row("S-71")
@pytest.mark.row("I-203")
@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=0-9", 206, DATA[:10]),
        ("bytes=990-", 206, DATA[990:]),
        ("bytes=-5", 206, DATA[-5:]),
        ("bytes=990-5000", 206, DATA[990:]),
        ("bytes=-5000", 206, DATA),
        ("bytes=1000-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-2", 200, DATA),
        ("bytes=0-1,4-5", 200, DATA),
        ("lines=1-2", 200, DATA),
        ("bytes=9223372036854775807999-", 200, DATA),
    ],
)
def test_ranges_are_exact(tmp_path, wanted, status, part):
    async def test(session):
        name = await upload(session, "a", DATA)
        async with session.get(f"/v2/a/blobs/{name}", headers={"Range": wanted}) as answer:
            assert answer.status == status
            if part is not None:
                assert await answer.read() == part
            if status == 206:
                first = len(DATA) - len(part) if wanted != "bytes=0-9" else 0
                assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/1000"

    run(tmp_path, test)


@pytest.mark.row("I-012")
@pytest.mark.row("I-180")
def test_manifests_come_back_as_the_bytes_that_went_in(tmp_path):
    async def test(session):
        image = make_image({"a": b"1"})
        image.manifest = b" \n" + image.manifest + b"\n"
        await publish(session, "team/app", "v1", image)
        for reference in ("v1", digest(image.manifest)):
            async with session.get(f"/v2/team/app/manifests/{reference}") as answer:
                assert await answer.read() == image.manifest
                assert answer.headers["Content-Type"] == OCI_MANIFEST
                assert answer.headers["Docker-Content-Digest"] == digest(image.manifest)
            async with session.head(f"/v2/team/app/manifests/{reference}") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Length"] == str(len(image.manifest))

    run(tmp_path, test)


@pytest.mark.row("R-35")
@pytest.mark.row("I-200")
def test_a_manifest_is_taken_only_when_all_it_names_is_here(tmp_path):
    async def test(session):
        image = make_image({"a": b"1"}, {"b": b"2"})
        for missing in image.blobs:
            repository = f"r{digest(missing)[7:12]}"
            for blob in image.blobs:
                if blob is not missing:
                    await upload(session, repository, blob)
            assert await put_manifest(session, repository, "v1", image.manifest) == 404
            async with session.get(f"/v2/{repository}/manifests/v1") as answer:
                assert answer.status == 404

    run(tmp_path, test)


@pytest.mark.row("S-45")
def test_a_manifest_that_lies_about_a_size_is_refused(tmp_path):
    async def test(session):
        image = make_image({"a": b"1"})
        for blob in image.blobs:
            await upload(session, "a", blob)
        document = json.loads(image.manifest)
        document["layers"][0]["size"] += 1
        assert await put_manifest(session, "a", "v1", json.dumps(document).encode()) == 400

    run(tmp_path, test)


@pytest.mark.row("S-46")
def test_a_document_that_can_be_read_two_ways_is_refused(tmp_path):
    async def test(session):
        image = make_image({"a": b"1"})
        for blob in image.blobs:
            await upload(session, "a", blob)
        good = json.loads(image.manifest)
        for document, media_type in [
            ({**good, "manifests": []}, OCI_MANIFEST),
            (good, OCI_INDEX),
            ({**good, "mediaType": OCI_INDEX}, OCI_MANIFEST),
            ({**good, "mediaType": OCI_INDEX}, OCI_INDEX),
            ({"schemaVersion": 2, "manifests": [], "layers": []}, OCI_INDEX),
            ({**good, "Layers": []}, OCI_MANIFEST),
            ({**good, "schemaVersion": 1}, OCI_MANIFEST),
            ([], OCI_MANIFEST),
        ]:
            assert await put_manifest(session, "a", "v1", json.dumps(document).encode(), media_type) == 400, document
        assert await put_manifest(session, "a", digest(b"other"), image.manifest) == 400

    run(tmp_path, test)


@pytest.mark.row("I-186")
def test_a_manifest_of_more_than_4_mib_is_refused(tmp_path):
    async def test(session):
        assert await put_manifest(session, "a", "v1", io.BytesIO(b" " * (4 * 1024 * 1024 + 1))) == 413

    run(tmp_path, test)


@pytest.mark.row("I-187")
def test_several_tags_go_with_one_manifest(tmp_path):
    async def test(session):
        image = make_image({"a": b"1"})
        for blob in image.blobs:
            await upload(session, "a", blob)
        url = f"/v2/a/manifests/{digest(image.manifest)}?tag=x&tag=y"
        async with session.put(url, data=image.manifest, headers={"Content-Type": OCI_MANIFEST}) as answer:
            assert answer.status == 201
            assert answer.headers.getall("OCI-Tag") == ["x", "y"]
        async with session.get("/v2/a/tags/list") as answer:
            assert (await answer.json())["tags"] == ["x", "y"]

    run(tmp_path, test)


@pytest.mark.row("I-188")
@pytest.mark.row("S-71")
def test_tags_are_sorted_and_come_in_pages(tmp_path):
    async def test(session):
        image = make_image({"a": b"1"})
        for tag in ("b", "a", "C", "d"):
            await publish(session, "a", tag, image)
        async with session.get("/v2/a/tags/list?n=3") as answer:
            assert (await answer.json())["tags"] == ["C", "a", "b"]
            following = answer.headers["Link"].partition("<")[2].partition(">")[0]
        async with session.get(following) as answer:
            assert (await answer.json())["tags"] == ["d"]
            assert "Link" not in answer.headers
        async with session.get("/v2/a/tags/list?n=0") as answer:
            assert ((await answer.json())["tags"], "Link" in answer.headers) == ([], False)
        async with session.get(f"/v2/a/tags/list?n={2**31}") as answer:
            assert len((await answer.json())["tags"]) == 4
        for bad in ("-1", "x", "1e9", "٣"):
            async with session.get("/v2/a/tags/list", params={"n": bad}) as answer:
                assert answer.status == 400
        async with session.get("/v2/none/tags/list") as answer:
            assert await codes(answer) == ["NAME_UNKNOWN"]
        async with session.get("/v2/_catalog") as answer:
            assert (await answer.json())["repositories"] == ["a"]

    run(tmp_path, test)


@pytest.mark.row("I-189")
@pytest.mark.row("I-205")
def test_deleting_a_tag_keeps_the_manifest_and_deleting_a_digest_takes_its_tags(tmp_path):
    async def test(session):
        image, other = make_image({"a": b"1"}), make_image({"b": b"1"})
        for tag in ("x", "y"):
            await publish(session, "a", tag, image)
        await publish(session, "a", "z", other)
        async with session.delete("/v2/a/manifests/x") as answer:
            assert answer.status == 202
        async with session.head(f"/v2/a/manifests/{digest(image.manifest)}") as answer:
            assert answer.status == 200
        async with session.delete(f"/v2/a/manifests/{digest(image.manifest)}") as answer:
            assert answer.status == 202
        async with session.get("/v2/a/tags/list") as answer:
            assert (await answer.json())["tags"] == ["z"]
        async with session.delete("/v2/a/manifests/x") as answer:
            assert answer.status == 404

    run(tmp_path, test)


@pytest.mark.row("I-201")
def test_referrers_are_listed_by_what_they_are_about(tmp_path):
    async def test(session):
        image = make_image({"a": b"1"})
        await publish(session, "a", "v1", image)
        about = {"mediaType": OCI_MANIFEST, "digest": digest(image.manifest), "size": len(image.manifest)}
        await upload(session, "a", b"{}")
        empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2}
        signatures = []
        for kind in ("application/x.sig", "application/x.sbom"):
            document = {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": kind,
                "config": empty,
                "layers": [empty],
                "subject": about,
                "annotations": {"k": kind},
            }
            data = json.dumps(document).encode()
            headers = {"Content-Type": OCI_MANIFEST}
            async with session.put(f"/v2/a/manifests/{digest(data)}", data=data, headers=headers) as answer:
                assert answer.headers["OCI-Subject"] == digest(image.manifest)
            signatures.append(digest(data))
        url = f"/v2/a/referrers/{digest(image.manifest)}"
        async with session.get(url) as answer:
            assert answer.headers["Content-Type"] == OCI_INDEX
            found = (await answer.json(content_type=None))["manifests"]
            assert sorted(entry["digest"] for entry in found) == sorted(signatures)
        async with session.get(url, params={"artifactType": "application/x.sig"}) as answer:
            found = (await answer.json(content_type=None))["manifests"]
            assert [(entry["digest"], entry["annotations"]) for entry in found] == [
                (signatures[0], {"k": "application/x.sig"})
            ]
            assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        async with session.delete(f"/v2/a/manifests/{signatures[0]}") as answer:
            assert answer.status == 202
        async with session.get(url) as answer:
            assert len((await answer.json(content_type=None))["manifests"]) == 1
        async with session.get(f"/v2/a/referrers/{digest(b'nothing')}") as answer:
            assert (answer.status, (await answer.json(content_type=None))["manifests"]) == (200, [])

    run(tmp_path, test)


@pytest.mark.row("S-47")
@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../etc/blobs/sha256:" + "0" * 64,
        "/v2/a%2f..%2f..%2fb/tags/list",
        "/v2/a/manifests/..%2f..%2fetc",
        "/v2/a/blobs/sha256:..%2f..%2fstate",
        "/v2/a/blobs/sha256:" + "A" * 64,
        "/v2/a/blobs/md5:" + "0" * 32,
        "/v2/_uploads/manifests/x",
        "/v2/A/tags/list",
        "/v2/a//b/tags/list",
        "/v2/" + "a" * 300 + "/tags/list",
        "/v2/a/blobs/uploads/..%2f..%2f",
        "/v2/a/manifests/" + "t" * 200,
        "/v2/a/manifests/x%00",
        "/v1/",
        "/",
    ],
)
def test_names_that_are_none_lead_nowhere(tmp_path, path):
    async def test(session):
        for method in ("GET", "PUT", "DELETE", "PATCH", "POST"):
            url = str(session._base_url).rstrip("/") + path
            from yarl import URL

            async with session.request(method, URL(url, encoded=True), data=b"x") as answer:
                assert 400 <= answer.status < 500, (method, answer.status)

    before = set(os.listdir(tmp_path))
    run(tmp_path / "root", test)
    assert set(os.listdir(tmp_path)) - before == {"root"}


@pytest.mark.row("I-208")
@pytest.mark.row("R-37")
def test_a_moving_tag_is_never_missing(tmp_path):
    async def test(session):
        images = [make_image({"a": b"%d" % n}) for n in range(2)]
        for image in images:
            await publish(session, "a", "v", image)
        wanted = {image.manifest for image in images}

        async def move() -> None:
            for n in range(60):
                assert await put_manifest(session, "a", "v", images[n % 2].manifest) == 201

        async def read(moving: asyncio.Task) -> None:
            while not moving.done():
                async with session.get("/v2/a/manifests/v") as answer:
                    assert answer.status == 200
                    assert await answer.read() in wanted

        moving = asyncio.ensure_future(move())
        await asyncio.gather(moving, read(moving), read(moving))

    run(tmp_path, test)


def test_a_body_is_waited_for_until_the_client_is_told_to_go_on(tmp_path):
    async def test(session):
        async with session.put(f"{await begin(session)}?digest={digest(DATA)}", data=DATA, expect100=True) as answer:
            assert answer.status == 201

    run(tmp_path, test)


@pytest.mark.row("I-020")
def test_an_index_is_taken_when_its_children_are_here(tmp_path):
    async def test(session):
        image = make_image({"a": b"1"})
        child = {"mediaType": OCI_MANIFEST, "digest": digest(image.manifest), "size": len(image.manifest)}
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
        assert await put_manifest(session, "a", "v1", index, OCI_INDEX) == 404
        await publish(session, "a", "child", image)
        assert await put_manifest(session, "a", "v1", index, OCI_INDEX) == 201
        empty = assemble([], image.config)
        assert await put_manifest(session, "a", "config-only", empty.manifest) == 201

    run(tmp_path, test)
