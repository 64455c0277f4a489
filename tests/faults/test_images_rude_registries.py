"""Pulls from registries that break off, stall, lie and send one elsewhere. Needs root: layers are unpacked."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import random
from pathlib import Path

import aiohttp
import pytest

from onggi.errors import Corrupt, Forbidden, InvalidArgument, NotFound, OnggiError, Unavailable
from onggi.images import RegistryOptions
from onggi.oci.reference import parse_reference
from tests.imaging import (
    OCI_INDEX,
    OCI_MANIFEST,
    RudeRegistry,
    TestImage,
    assemble,
    breaks_off,
    digest,
    make_image,
    names,
    room,
    rude_registry,
    says,
    sends,
    serving,
    stalls,
    tar,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of any owner are made")

QUICK = RegistryOptions(backoff_s=0.01, stall_s=0.3, connect_s=2)
IMAGE = make_image({"etc/one": random.Random(1).randbytes(300_000)}, {"etc/two": b"2"})
BIG = f"/v2/app/blobs/{digest(IMAGE.layers[0])}"
MANIFEST = "/v2/app/manifests/v1"


def pulling(tmp_path: Path, *faults, path: str = BIG, image: TestImage = IMAGE, options: RegistryOptions = QUICK):
    """Pulls app:v1 from a registry with faults; gives the registry. The image is whole, or the error is raised."""

    async def run() -> RudeRegistry:
        async with rude_registry() as registry, room(tmp_path / "root", options) as here:
            registry.add("app", "v1", image)
            registry.fault(path, *faults)
            try:
                await here.pull(f"{registry.host}/app:v1")
            except OnggiError:
                assert names(here.images.list()) == []
                raise
            found = here.images.resolve(f"{registry.host}/app:v1")
            assert found.id == image.id
            assert Path(here.layers.path(found.layers[0]), "etc/one").stat().st_size == 300_000
            assert not list((tmp_path / "root" / "ingest").iterdir())
            return registry

    return asyncio.run(run())


@pytest.mark.row("R-13")
@pytest.mark.row("K-50")
@pytest.mark.row("I-072")
def test_a_pull_that_is_cut_off_goes_on_where_it_stopped(tmp_path):
    size = len(IMAGE.layers[0])
    registry = pulling(tmp_path, breaks_off(size // 3))
    ranges = [headers.get("Range") for _, path, headers in registry.requests if path == BIG]
    assert ranges[0] is None
    assert ranges[1].startswith("bytes=")
    assert registry.sent < 1.1 * sum(len(blob) for blob in IMAGE.blobs) + len(IMAGE.manifest)


@pytest.mark.row("I-073")
@pytest.mark.row("R-13")
def test_another_pull_goes_on_where_a_failed_one_stopped_also_after_a_restart(tmp_path):
    size = len(IMAGE.layers[0])

    async def run() -> None:
        async with rude_registry() as registry:
            registry.add("app", "v1", IMAGE)
            registry.fault(BIG, *[breaks_off(size // 2)], *[says(503)] * 4)
            async with room(tmp_path, QUICK) as here:
                with pytest.raises(Unavailable):
                    await here.pull(f"{registry.host}/app:v1")
            registry.requests.clear()
            async with room(tmp_path, QUICK) as here:
                await here.pull(f"{registry.host}/app:v1")
                assert here.images.resolve(f"{registry.host}/app:v1").id == IMAGE.id
            wanted = [headers.get("Range") for _, path, headers in registry.requests if path == BIG]
            assert wanted == [f"bytes={size // 2}-{size - 1}"]
            # The layer that came whole isn't asked for again.
            assert registry.count(f"/v2/app/blobs/{digest(IMAGE.layers[1])}") == 0

    asyncio.run(run())


@pytest.mark.row("I-074")
@pytest.mark.row("K-50")
def test_a_stalled_connection_is_given_up_and_made_anew(tmp_path):
    pulling(tmp_path, stalls(1000), stalls(0))


@pytest.mark.row("K-50")
@pytest.mark.row("I-076")
def test_busy_registries_are_asked_again_when_they_say(tmp_path):
    registry = pulling(tmp_path, says(429, b"", Retry_After="0"), says(503), says(500))
    assert registry.count(BIG) == 4


@pytest.mark.row("E-269")
def test_a_registry_that_stays_busy_is_named_toomanyrequests(tmp_path):
    busy = says(429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}')
    with pytest.raises(Unavailable, match=r"^toomanyrequests: slow down"):
        pulling(tmp_path, *[busy] * 5, path=MANIFEST)


@pytest.mark.row("K-50")
@pytest.mark.row("I-069")
@pytest.mark.row("S-45")
def test_wrong_bytes_are_fetched_again(tmp_path):
    data = bytearray(IMAGE.layers[0])
    data[len(data) // 2] ^= 1
    registry = pulling(tmp_path, sends(bytes(data)))
    assert registry.count(BIG) == 2


@pytest.mark.row("S-45")
def test_wrong_bytes_that_never_get_right_are_refused(tmp_path):
    data = bytearray(IMAGE.layers[0])
    data[-9] ^= 1
    with pytest.raises(Corrupt, match="verification failed"):
        pulling(tmp_path, *[sends(bytes(data))] * 5)


@pytest.mark.row("S-45")
@pytest.mark.parametrize("extra", [1, 100_000])
def test_more_bytes_than_the_manifest_says_are_refused(tmp_path, extra):
    with pytest.raises(Corrupt, match="longer than"):
        pulling(tmp_path, *[sends(IMAGE.layers[0] + b"x" * extra)] * 5)


@pytest.mark.row("S-45")
def test_fewer_bytes_than_the_manifest_says_are_no_layer(tmp_path):
    with pytest.raises(OnggiError, match=r"unexpected EOF|verification"):
        pulling(tmp_path, *[sends(IMAGE.layers[0][:-1])] * 5)


@pytest.mark.row("K-50")
def test_an_answer_with_another_range_is_not_believed(tmp_path):
    size = len(IMAGE.layers[0])
    wrong = says(206, IMAGE.layers[0][10:], Content_Range=f"bytes 10-{size - 1}/{size}")
    pulling(tmp_path, breaks_off(1000), wrong)


@pytest.mark.row("K-50")
def test_a_registry_without_ranges_is_read_from_the_beginning(tmp_path):
    pulling(tmp_path, breaks_off(1000), sends(IMAGE.layers[0]))


@pytest.mark.row("K-50")
def test_a_refused_range_is_read_from_the_beginning(tmp_path):
    pulling(tmp_path, breaks_off(1000), says(416))


@pytest.mark.row("I-022")
@pytest.mark.row("S-45")
def test_layers_that_do_not_fit_the_config_are_refused(tmp_path):
    swapped = assemble([gzip.compress(tar({"evil": b"x"})), *IMAGE.layers[1:]], IMAGE.config)
    with pytest.raises(Corrupt, match="don't match image configuration"):
        pulling(tmp_path, image=swapped)
    fewer = assemble(IMAGE.layers[:1], IMAGE.config)
    with pytest.raises(Corrupt, match="don't match image configuration"):
        pulling(tmp_path / "2", image=fewer)


@pytest.mark.row("S-45")
def test_a_layer_that_is_no_archive_is_refused(tmp_path):
    with pytest.raises(Corrupt):
        pulling(tmp_path, image=assemble([b"\x1f\x8bnothing", *IMAGE.layers[1:]], IMAGE.config))


@pytest.mark.row("S-46")
def test_documents_that_can_be_read_two_ways_are_refused(tmp_path):
    good = json.loads(IMAGE.manifest)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    for number, (document, served) in enumerate(
        [
            ({**good, "manifests": []}, OCI_MANIFEST),
            ({**good, "mediaType": OCI_INDEX}, OCI_INDEX),
            (good, OCI_INDEX),
            ({**index, "layers": []}, OCI_INDEX),
            ({**index, "mediaType": OCI_MANIFEST}, OCI_INDEX),
            ({**good, "Layers": []}, OCI_MANIFEST),
            ({**good, "schemaVersion": 1, "fsLayers": []}, "application/json"),
            ({**good, "layers": [{**good["layers"][0], "digest": "sha256:../../../../etc/passwd"}]}, OCI_MANIFEST),
            ({**good, "layers": [{**good["layers"][0], "size": -1}]}, OCI_MANIFEST),
            (good, "text/html"),
        ]
    ):
        data = json.dumps(document).encode()
        with pytest.raises(InvalidArgument):
            pulling(tmp_path / str(number), sends(data, Content_Type=served), path=MANIFEST)


@pytest.mark.row("I-065")
def test_a_manifest_by_digest_must_have_it(tmp_path):
    async def run() -> None:
        async with rude_registry() as registry, room(tmp_path, QUICK) as here:
            registry.add("app", "v1", IMAGE)
            wanted = digest(IMAGE.manifest)
            registry.fault(f"/v2/app/manifests/{wanted}", sends(IMAGE.manifest + b" ", Content_Type=OCI_MANIFEST))
            with pytest.raises(Corrupt, match="manifest verification failed"):
                await here.pull(f"{registry.host}/app@{wanted}")
            await here.pull(f"{registry.host}/app@{wanted}")
            assert here.images.resolve(f"{registry.host}/app@{wanted}").id == IMAGE.id

    asyncio.run(run())


@pytest.mark.row("I-077")
@pytest.mark.row("S-48")
def test_redirects_end_lead_to_no_inner_address_and_carry_no_password(tmp_path):
    async def run() -> None:
        async with rude_registry() as registry, rude_registry("127.0.0.2") as other, room(tmp_path, QUICK) as here:
            registry.add("app", "v1", IMAGE)
            other.add("app", "v1", IMAGE)
            registry.fault(BIG, says(307, Location=f"http://{other.host}{BIG}"))

            class Auth:
                username, password, auth, identitytoken, registrytoken = "anna", "secret", "", "", ""

            registry.fault("/v2/", says(401, b"", WWW_Authenticate='Basic realm="x"'))
            await here.images.pull(
                parse_reference(f"{registry.host}/app:v1"), auth=Auth(), platform=None, progress=here.messages.append
            )
            assert any("Authorization" in headers for _, _, headers in registry.requests)
            assert other.count(BIG) == 1
            assert not any("Authorization" in headers for _, _, headers in other.requests)

    asyncio.run(run())
    for number, target in enumerate(
        [
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]/x",
            "http://[fd00:ec2::254]/latest",
            "http://0.0.0.0/",
            "file:///etc/passwd",
            "gopher://x/",
            MANIFEST,
        ]
    ):
        with pytest.raises(Forbidden, match=r"leads to|redirects more"):
            pulling(tmp_path / str(number), *[says(302, Location=target)] * 8, path=MANIFEST)


@pytest.mark.row("S-48")
def test_a_token_realm_on_an_inner_address_is_not_asked(tmp_path):
    challenge = says(401, b"", WWW_Authenticate='Bearer realm="http://169.254.169.254/token",service="x"')
    with pytest.raises(Forbidden, match="not a public address"):
        pulling(tmp_path, challenge, path="/v2/")


@pytest.mark.row("R-13")
@pytest.mark.row("I-071")
def test_two_pulls_share_a_download_and_one_may_leave(tmp_path):
    async def run() -> None:
        async with rude_registry() as registry, room(tmp_path, RegistryOptions(backoff_s=0.01, stall_s=20)) as here:
            registry.add("app", "v1", IMAGE)
            registry.add("copy", "v1", IMAGE)
            going = asyncio.Event()

            async def slow(request, data):
                going.set()
                await asyncio.sleep(0.3)
                return await sends(data)(request, data)

            registry.fault(BIG, slow)
            first = asyncio.ensure_future(here.pull(f"{registry.host}/app:v1"))
            await going.wait()
            second = asyncio.ensure_future(here.pull(f"{registry.host}/copy:v1"))
            await asyncio.sleep(0.1)
            first.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await first
            await second
            assert here.images.resolve(f"{registry.host}/copy:v1").id == IMAGE.id
            assert registry.count(BIG) == 1
            assert registry.count(BIG.replace("/app/", "/copy/")) == 0

    asyncio.run(run())


@pytest.mark.row("E-248")
def test_a_cancelled_pull_leaves_no_name_and_no_task(tmp_path):
    async def run() -> None:
        async with rude_registry() as registry, room(tmp_path, RegistryOptions(stall_s=20)) as here:
            registry.add("app", "v1", IMAGE)
            registry.fault(BIG, stalls(1000))
            pull = asyncio.ensure_future(here.pull(f"{registry.host}/app:v1"))
            while registry.count(BIG) == 0:
                await asyncio.sleep(0.01)
            pull.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pull
            assert names(here.images.list()) == []
            assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("download")]
            # The bytes so far stay for the next one.
            left = [path.name for path in (tmp_path / "ingest").iterdir()]
            assert all(name.endswith(".partial") for name in left), left

    asyncio.run(run())


@pytest.mark.row("E-269")
@pytest.mark.row("I-094")
def test_errors_are_in_the_words_that_people_search_for(tmp_path):
    async def run() -> None:
        async with rude_registry() as registry, room(tmp_path, QUICK) as here:
            registry.add("app", "v1", IMAGE)
            with pytest.raises(NotFound, match=f"^manifest for {registry.host}/app:v2 not found: manifest unknown"):
                await here.pull(f"{registry.host}/app:v2")
            denied = says(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}')
            registry.fault("/v2/secret/manifests/v1", denied, denied)
            with pytest.raises(
                NotFound,
                match=f"^pull access denied for {registry.host}/secret, repository does not exist or may require 'docker login'",
            ):
                await here.pull(f"{registry.host}/secret:v1")
            with pytest.raises(Unavailable, match=r"dial tcp 127\.0\.0\.1:1: connect: connection refused"):
                await here.pull("127.0.0.1:1/app:v1")
            foreign = {
                "mediaType": OCI_MANIFEST,
                "digest": digest(IMAGE.manifest),
                "size": len(IMAGE.manifest),
                "platform": {"architecture": "s390x", "os": "linux"},
            }
            index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [foreign]}).encode()
            registry.documents["/v2/app/manifests/many"] = (index, OCI_INDEX)
            with pytest.raises(NotFound, match="no matching manifest for linux"):
                await here.pull(f"{registry.host}/app:many")

    asyncio.run(run())


@pytest.mark.row("E-269")
def test_a_plain_registry_is_told_from_one_with_tls(tmp_path):
    async def run() -> None:
        async with rude_registry("127.0.0.1") as registry, room(tmp_path, QUICK) as here:
            port = registry.host.rpartition(":")[2]
            # A name that isn't listed as insecure, for the same server.
            from onggi.images.challenge import Credentials
            from onggi.images.connection import RegistryClient
            from onggi.images.endpoints import Endpoint

            endpoint = Endpoint(f"127.0.0.1:{port}")
            async with RegistryClient(endpoint, Credentials(), here.images.registries) as client:
                with pytest.raises(Unavailable, match="http: server gave HTTP response to HTTPS client"):
                    await client.connect()

    asyncio.run(run())


@pytest.mark.row("I-078")
@pytest.mark.row("I-082")
def test_a_mirror_that_fails_or_lies_is_passed_over_and_gets_no_password(tmp_path, monkeypatch):
    async def run() -> None:
        async with rude_registry() as mirror, rude_registry() as origin:
            monkeypatch.setattr("onggi.images.endpoints._HUB", origin.host)
            monkeypatch.setattr(
                "onggi.images.images.endpoints",
                lambda _domain, options: [
                    _plain(mirror.host, is_mirror=True),
                    _plain(origin.host),
                ],
            )
            options = RegistryOptions(backoff_s=0.01, tries=2)
            mirror.add("library/app", "v1", IMAGE)
            origin.add("library/app", "v1", IMAGE)
            lie = sends(IMAGE.layers[0][::-1])
            mirror.fault(BIG.replace("/app/", "/library/app/"), lie, lie)
            async with room(tmp_path, options) as here:
                await here.pull("app:v1")
                assert here.images.resolve("app:v1").id == IMAGE.id
            assert mirror.count("/v2/library/app/manifests/v1") == 1
            assert origin.count(BIG.replace("/app/", "/library/app/")) == 1

    asyncio.run(run())


@pytest.mark.row("I-072")
@pytest.mark.row("I-078")
def test_where_nobody_listens_is_said_at_once_and_a_mirror_that_is_down_costs_no_time(tmp_path, monkeypatch):
    async def run() -> None:
        async with rude_registry() as origin:
            monkeypatch.setattr(
                "onggi.images.images.endpoints",
                lambda _domain, _options: [_plain("127.0.0.1:1", is_mirror=True), _plain(origin.host)],
            )
            origin.add("library/app", "v1", IMAGE)
            async with room(
                tmp_path, RegistryOptions(backoff_s=3600)
            ) as here:  # the test ends, so nothing was waited for
                await here.pull("app:v1")
            monkeypatch.setattr("onggi.images.images.endpoints", lambda _domain, _options: [_plain("127.0.0.1:1")])
            async with room(tmp_path / "again", RegistryOptions(backoff_s=3600)) as here:
                for name in ("app:v1", "nobody.invalid/app:v1"):
                    with pytest.raises(Unavailable, match="connection refused"):
                        await here.pull(name)

    asyncio.run(run())


def _plain(host: str, *, is_mirror: bool = False):
    from onggi.images.endpoints import Endpoint

    return Endpoint(host, "http", insecure=True, is_mirror=is_mirror)


@pytest.mark.row("K-50")
def test_a_push_goes_on_where_the_registry_is(tmp_path):
    async def run() -> None:
        async with serving(tmp_path / "registry") as (host, _), room(tmp_path / "root", QUICK) as here:
            async with rude_registry() as source:
                source.add("app", "v1", IMAGE)
                await here.pull(f"{source.host}/app:v1")
                await here.images.tag(here.images.resolve(f"{source.host}/app:v1"), parse_reference(f"{host}/app:v1"))
            cut = await cutting_proxy(host)
            try:
                reference = parse_reference(f"{cut.host}/app:v1")
                await here.images.tag(here.images.resolve(f"{host}/app:v1"), reference)
                await here.push(f"{cut.host}/app:v1")
            finally:
                cut.server.close()
            async with aiohttp.ClientSession(f"http://{host}") as session:
                for blob in IMAGE.blobs:
                    async with session.get(f"/v2/app/blobs/{digest(blob)}") as answer:
                        assert await answer.read() == blob
                async with session.get("/v2/app/manifests/v1") as answer:
                    assert await answer.read() == IMAGE.manifest
            assert cut.cuts == 1

    asyncio.run(run())


class Cutter:
    """A wire to a registry that is cut once, in the middle of the first large upload."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.cuts = 0
        self.host = ""
        self.server: asyncio.Server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        passed = 0

        async def upwards() -> None:
            nonlocal passed
            while data := await reader.read(16384):
                up_writer.write(data)
                await up_writer.drain()
                passed += len(data)
                if not self.cuts and passed > 150_000:
                    self.cuts += 1
                    break
            up_writer.close()
            writer.close()

        async def downwards() -> None:
            while data := await up_reader.read(65536):
                writer.write(data)
            writer.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(upwards(), downwards())


async def cutting_proxy(target: str) -> Cutter:
    cutter = Cutter(target)
    cutter.server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    cutter.host = f"127.0.0.1:{cutter.server.sockets[0].getsockname()[1]}"
    return cutter
