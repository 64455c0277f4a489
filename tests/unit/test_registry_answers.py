"""What each endpoint of the registry answers, code by code: a real server on a loopback port."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from onggi.registry import Access
from onggi.registry.collector import collect
from onggi.registry.repositories import Repositories
from onggi.registry.uploads import Uploads
from tests.imaging import OCI_INDEX, OCI_MANIFEST, digest, make_image, publish, put_manifest, serving, upload

DATA = b"0123456789" * 100
IMAGE = make_image({"a": b"1"})
NOTHING = "sha256:" + "0" * 64
Session = aiohttp.ClientSession


def run(root: Path, test: Callable[[Session], Awaitable[None]], access: Access | None = None) -> None:
    async def main() -> None:
        async with serving(root, access) as (_, session):
            await test(session)

    asyncio.run(main())


async def ask(session: Session, method: str, path: str, **words: object) -> tuple[int, object, aiohttp.ClientResponse]:
    """Status, body (JSON if it is some), answer."""
    async with session.request(method, path, **words) as answer:
        data = await answer.read()
        return answer.status, json.loads(data) if data[:1] in (b"{", b"[") else data, answer


def code(body: object) -> str:
    assert isinstance(body, dict)
    (entry,) = body["errors"]
    assert set(entry) <= {"code", "message", "detail"}
    assert entry["message"]
    return str(entry["code"])


@pytest.mark.row("I-179", "I-196")
def test_blobs_are_given_with_length_and_digest_or_are_unknown(tmp_path: Path) -> None:
    async def test(session: Session) -> None:
        await publish(session, "a", "v1", IMAGE)
        blob, path = IMAGE.layers[0], f"/v2/a/blobs/{digest(IMAGE.layers[0])}"
        for method, body in (("GET", blob), ("HEAD", b"")):
            status, found, answer = await ask(session, method, path)
            assert (status, found) == (200, body)
            assert answer.headers["Content-Length"] == str(len(blob))
            assert answer.headers["Docker-Content-Digest"] == digest(blob)
        for method in ("GET", "HEAD"):
            status, _, answer = await ask(session, method, f"/v2/a/manifests/{digest(IMAGE.manifest)}")
            assert (status, answer.headers["Docker-Content-Digest"]) == (200, digest(IMAGE.manifest))
        status, body, _ = await ask(session, "GET", f"/v2/a/blobs/{NOTHING}")
        assert (status, code(body)) == (404, "BLOB_UNKNOWN")
        status, body, _ = await ask(session, "HEAD", f"/v2/a/blobs/{NOTHING}")
        assert (status, body) == (404, b"")  # a HEAD's answer is its status alone

    run(tmp_path, test)


@pytest.mark.row("I-181", "I-192")
def test_an_upload_begins_at_a_place_nobody_guesses_and_tells_how_far_it_is(tmp_path: Path) -> None:
    async def test(session: Session) -> None:
        places = set()
        for _ in range(2):
            status, _, answer = await ask(session, "POST", "/v2/a/blobs/uploads/")
            assert (status, answer.headers["Range"]) == (202, "0-0")
            places.add(answer.headers["Location"])
            assert len(answer.headers["Docker-Upload-UUID"]) == 32
        assert len(places) == 2
        place = places.pop()
        assert (await ask(session, "PATCH", place, data=DATA))[0] == 202
        status, _, answer = await ask(session, "GET", place)
        assert (status, answer.headers["Range"], answer.headers["Location"]) == (204, "0-999", place)

    run(tmp_path, test)


@pytest.mark.row("I-182", "I-183", "I-196")
def test_a_blob_goes_in_one_request_or_with_another_algorithm(tmp_path: Path) -> None:
    async def test(session: Session) -> None:
        status, _, answer = await ask(session, "POST", f"/v2/a/blobs/uploads/?digest={digest(DATA)}", data=DATA)
        assert (status, answer.headers["Docker-Content-Digest"]) == (201, digest(DATA))
        assert (await ask(session, "GET", answer.headers["Location"]))[1] == DATA
        status, _, answer = await ask(session, "POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512")
        named = "sha512:" + hashlib.sha512(DATA).hexdigest()
        assert (await ask(session, "PATCH", answer.headers["Location"], data=DATA))[0] == 202
        assert (await ask(session, "PUT", f"{answer.headers['Location']}?digest={named}"))[0] == 201
        assert (await ask(session, "GET", f"/v2/a/blobs/{named}"))[1] == DATA
        status, body, _ = await ask(session, "POST", "/v2/a/blobs/uploads/?digest-algorithm=md5")
        assert (status, code(body)) == (400, "DIGEST_INVALID")

    run(tmp_path, test)


@pytest.mark.row("I-190")
def test_a_blob_taken_out_of_one_repository_stays_in_the_others(tmp_path: Path) -> None:
    async def test(session: Session) -> None:
        name = await upload(session, "a", DATA)
        assert (await ask(session, "POST", f"/v2/b/blobs/uploads/?mount={name}&from=a"))[0] == 201
        assert (await ask(session, "DELETE", f"/v2/a/blobs/{name}"))[0] == 202
        assert (await ask(session, "DELETE", f"/v2/a/blobs/{name}"))[0] == 404
        assert (await ask(session, "GET", f"/v2/a/blobs/{name}"))[0] == 404
        assert (await ask(session, "GET", f"/v2/b/blobs/{name}"))[1] == DATA

    run(tmp_path, test)


@pytest.mark.row("I-194")
def test_the_catalogue_comes_in_pages_to_those_who_may_see_it(tmp_path: Path) -> None:
    (tmp_path / "users").write_bytes(b"anna:" + bcrypt.hashpw(b"x", bcrypt.gensalt(10)))
    access = Access(str(tmp_path / "users"), anonymous_pull=True)

    async def test(session: Session) -> None:
        session.headers["Authorization"] = aiohttp.encode_basic_auth("anna", "x")
        for name in ("c", "a/b", "a", "b"):
            await publish(session, name, "v1", IMAGE)
        found, path = [], "/v2/_catalog?n=3"
        while path:
            _, body, answer = await ask(session, "GET", path)
            found.append(body["repositories"])
            path = answer.headers["Link"].partition(">")[0].removeprefix("<") if "Link" in answer.headers else ""
        assert found == [["a", "a/b", "b"], ["c"]]
        del session.headers["Authorization"]
        status, body, _ = await ask(session, "GET", "/v2/_catalog")
        assert (status, code(body)) == (401, "UNAUTHORIZED")

    run(tmp_path / "root", test, access)


@pytest.mark.row("I-198")
def test_what_is_stored_is_given_whatever_is_accepted(tmp_path: Path) -> None:
    async def test(session: Session) -> None:
        await publish(session, "a", "v1", IMAGE)
        for accepted in ("application/vnd.docker.distribution.manifest.v1+json", "text/html", "*/*;q=0", ""):
            status, _, answer = await ask(session, "GET", "/v2/a/manifests/v1", headers={"Accept": accepted})
            assert (status, answer.headers["Content-Type"]) == (200, OCI_MANIFEST)

    run(tmp_path, test)


@pytest.mark.row("I-199")
def test_each_refusal_has_its_code_of_the_specification(tmp_path: Path) -> None:
    (tmp_path / "users").write_bytes(b"anna:" + bcrypt.hashpw(b"x", bcrypt.gensalt(10)))
    lacking = json.dumps({**json.loads(IMAGE.manifest)}).encode()
    wrong_size = json.loads(IMAGE.manifest)
    wrong_size["config"]["size"] += 1

    async def test(session: Session) -> None:
        session.headers["Authorization"] = aiohttp.encode_basic_auth("anna", "x")
        await publish(session, "a", "v1", IMAGE)
        place = (await ask(session, "POST", "/v2/a/blobs/uploads/"))[2].headers["Location"]
        typed = {"Content-Type": OCI_MANIFEST}
        for status, wanted, method, path, words in (
            (404, "BLOB_UNKNOWN", "GET", f"/v2/a/blobs/{NOTHING}", {}),
            (404, "BLOB_UNKNOWN", "DELETE", f"/v2/a/blobs/{NOTHING}", {}),
            (416, "BLOB_UPLOAD_INVALID", "PATCH", place, {"data": b"x", "headers": {"Content-Range": "9-x"}}),
            (416, "RANGE_INVALID", "PATCH", place, {"data": b"x", "headers": {"Content-Range": "9-9"}}),
            (416, "SIZE_INVALID", "PATCH", place, {"data": b"x", "headers": {"Content-Range": "0-9"}}),
            (404, "BLOB_UPLOAD_UNKNOWN", "PUT", f"/v2/a/blobs/uploads/{'x' * 32}?digest={NOTHING}", {}),
            (400, "DIGEST_INVALID", "PUT", place, {}),
            (400, "DIGEST_INVALID", "PUT", f"{place}?digest=sha256:abc", {}),
            (400, "DIGEST_INVALID", "PUT", f"{place}?digest={NOTHING}", {}),
            (404, "MANIFEST_BLOB_UNKNOWN", "PUT", "/v2/b/manifests/v1", {"data": lacking, "headers": typed}),
            (400, "MANIFEST_INVALID", "PUT", "/v2/a/manifests/v1", {"data": b"{", "headers": typed}),
            (
                400,
                "MANIFEST_INVALID",
                "PUT",
                "/v2/a/manifests/v1",
                {"data": json.dumps(wrong_size).encode(), "headers": typed},
            ),
            (404, "MANIFEST_UNKNOWN", "GET", "/v2/a/manifests/v2", {}),
            (404, "MANIFEST_UNKNOWN", "DELETE", f"/v2/a/manifests/{NOTHING}", {}),
            (400, "NAME_INVALID", "GET", "/v2/A/tags/list", {}),
            (404, "NAME_UNKNOWN", "GET", "/v2/nobody/tags/list", {}),
            (400, "PAGINATION_NUMBER_INVALID", "GET", "/v2/a/tags/list?n=x", {}),
            (400, "TAG_INVALID", "PUT", "/v2/a/manifests/.v1", {"data": IMAGE.manifest, "headers": typed}),
            (
                413,
                "SIZE_INVALID",
                "PUT",
                "/v2/a/manifests/v1",
                {"data": io.BytesIO(b" " * (4 * 1024 * 1024 + 1)), "headers": typed},
            ),
            (405, "UNSUPPORTED", "POST", "/v2/a/manifests/v1", {}),
            (404, "UNSUPPORTED", "GET", "/v3/", {}),
            (401, "UNAUTHORIZED", "GET", "/v2/", {"headers": {"Authorization": "Basic eDp5"}}),
        ):
            found, body, _ = await ask(session, method, path, **words)
            assert (found, code(body)) == (status, wanted), (method, path)

    run(tmp_path / "root", test, Access(str(tmp_path / "users")))


@pytest.mark.row("I-202")
def test_referrers_under_the_old_tag_are_listed_with_the_others(tmp_path: Path) -> None:
    async def test(session: Session) -> None:
        await publish(session, "a", "v1", IMAGE)
        signature = json.loads(IMAGE.manifest) | {
            "artifactType": "application/x.sig",
            "annotations": {"by": "an old client"},
        }
        data = json.dumps(signature).encode()
        assert await put_manifest(session, "a", digest(data), data) == 201
        entry = {
            "mediaType": OCI_MANIFEST,
            "digest": digest(data),
            "size": len(data),
            "artifactType": "application/x.sig",
        }
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        subject = digest(IMAGE.manifest)
        assert await put_manifest(session, "a", subject.replace(":", "-"), json.dumps(index).encode(), OCI_INDEX) == 201
        about = {"mediaType": OCI_MANIFEST, "digest": subject, "size": len(IMAGE.manifest)}
        newer = json.dumps(signature | {"subject": about}).encode()
        assert await put_manifest(session, "a", digest(newer), newer) == 201
        _, body, _ = await ask(session, "GET", f"/v2/a/referrers/{subject}")
        assert {one["digest"] for one in body["manifests"]} == {digest(data), digest(newer)}
        assert all(one["annotations"] == {"by": "an old client"} for one in body["manifests"])

    run(tmp_path, test)


@pytest.mark.row("I-241")
def test_uploads_that_nobody_goes_on_with_are_purged_by_age(tmp_path: Path) -> None:
    async def test(session: Session) -> None:
        old, new = [(await ask(session, "POST", "/v2/a/blobs/uploads/"))[2].headers["Location"] for _ in range(2)]
        repositories = Repositories(tmp_path)
        uploads = Uploads(tmp_path, repositories.content)
        data = tmp_path / "uploads" / old.rpartition("/")[2] / "data"
        os.utime(data, (time.time() - 3 * 86400,) * 2)
        assert collect(repositories, uploads) == ([], 1)
        assert (await ask(session, "GET", old))[0] == 404
        assert (await ask(session, "GET", new))[0] == 204

    run(tmp_path, test)
