"""Images between a real registry, real layers and archives. Needs root: layers are unpacked."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
import zstandard

from onggi.errors import Conflict, Corrupt, InvalidArgument, NotFound
from onggi.images.healing import heal_all
from onggi.images.importing import import_image
from onggi.oci.digest import Digest
from onggi.oci.image import ImageConfig, RootFS, RunConfig
from onggi.oci.platform import parse_platform
from onggi.oci.reference import parse_reference
from tests.imaging import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Room,
    assemble,
    digest,
    make_image,
    pieces,
    publish,
    put_manifest,
    room,
    serving,
    tar,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of any owner are made")

IMAGE = make_image({"etc/one": b"1"}, {"etc/two": b"2"})


def nobody(_image: str) -> list[tuple[str, bool]]:
    return []


async def captured(here: Room, path: Path, *trees: dict[str, bytes], name: str = "built:1", parent: str = "") -> str:
    """An image of layers made here, as build and commit make them; its id."""
    diffs = []
    for number, files in enumerate(trees):
        upper = path / f"upper{number}-{name.replace(':', '-')}"
        upper.mkdir(parents=True)
        for file, data in files.items():
            (upper / file).write_bytes(data)
        diffs.append((await here.layers.capture(str(upper), keep=False)).diff_id)
    config = ImageConfig(architecture="amd64", os="linux", rootfs=RootFS(diff_ids=diffs), author=name)
    image = await here.images.create(config, names=[parse_reference(name)] if name else [], parent=parent)
    return image.id


def run(test) -> None:
    asyncio.run(test())


@pytest.mark.row("E-246")
@pytest.mark.row("I-090")
@pytest.mark.row("I-091")
def test_a_pull_says_what_docker_says(tmp_path):
    async def test() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            await publish(session, "team/app", "v1", IMAGE)
            await here.pull(f"{host}/team/app:v1")
            said = here.said()
            one, two = (digest(layer)[7:19] for layer in IMAGE.layers)
            assert said[:3] == ["v1: Pulling from team/app", f"{one}: Pulling fs layer", f"{two}: Pulling fs layer"]
            assert said[-2:] == [
                f"Digest: {digest(IMAGE.manifest)}",
                f"Status: Downloaded newer image for {host}/team/app:v1",
            ]
            for layer in (one, two):
                words = [line.partition(": ")[2] for line in said if line.startswith(layer)]
                order = ["Verifying Checksum", "Download complete", "Pull complete"]
                assert [word for word in words if word in order] == order
            here.messages.clear()
            await here.pull(f"{host}/team/app:v1")
            assert here.said() == [
                "v1: Pulling from team/app",
                f"{one}: Already exists",
                f"{two}: Already exists",
                f"Digest: {digest(IMAGE.manifest)}",
                f"Status: Image is up to date for {host}/team/app:v1",
            ]
            image = here.images.resolve(f"{host}/team/app:v1")
            assert image.id == IMAGE.id
            assert image.digests == (f"{host}/team/app@{digest(IMAGE.manifest)}",)
            assert Path(here.layers.path(image.layers[1]), "etc/two").read_bytes() == b"2"

    run(test)


@pytest.mark.row("I-003")
def test_a_pull_by_digest_gives_the_digest_as_its_only_name(tmp_path):
    async def test() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            await publish(session, "app", "v1", IMAGE)
            await here.pull(f"{host}/app@{digest(IMAGE.manifest)}")
            (image,) = here.images.list()
            assert (image.tags, image.digests) == ((), (f"{host}/app@{digest(IMAGE.manifest)}",))
            assert here.images.resolve(f"{host}/app@{digest(IMAGE.manifest)}").id == IMAGE.id

    run(test)


@pytest.mark.row("I-019")
@pytest.mark.row("I-086")
def test_the_variant_for_the_platform_is_pulled(tmp_path):
    async def test() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            arm = make_image({"arch": b"arm"}, architecture="arm64", variant="v8")
            entries = []
            for image, platform in [
                (arm, {"architecture": "arm64", "os": "linux", "variant": "v8"}),
                (IMAGE, {"architecture": "amd64", "os": "linux"}),
                (make_image({"x": b"attestation"}), {"architecture": "unknown", "os": "unknown"}),
            ]:
                await publish(session, "app", digest(image.manifest), image)
                entries.append(
                    {
                        "mediaType": OCI_MANIFEST,
                        "digest": digest(image.manifest),
                        "size": len(image.manifest),
                        "platform": platform,
                    }
                )
            index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
            assert await put_manifest(session, "app", "v1", index, OCI_INDEX) == 201
            await here.images.pull(
                parse_reference(f"{host}/app:v1"),
                auth=None,
                platform=parse_platform("linux/arm64"),
                progress=here.messages.append,
            )
            assert here.images.resolve(f"{host}/app:v1").id == arm.id
            # What is named is the index, as docker names it.
            assert f"Digest: {digest(index)}" in here.said()
            with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
                await here.images.pull(
                    parse_reference(f"{host}/app:v1"),
                    auth=None,
                    platform=parse_platform("linux/s390x"),
                    progress=here.messages.append,
                )
            found = await here.images.look_up(parse_reference(f"{host}/app:v1"), auth=None)
            assert found.descriptor["digest"] == digest(index)
            assert [str(platform) for platform in found.platforms] == [
                "linux/arm64/v8",
                "linux/amd64",
                "unknown/unknown",
            ]

    run(test)


@pytest.mark.row("I-087")
def test_a_pull_without_a_tag_takes_all_of_them(tmp_path):
    async def test() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            for tag in ("a", "b"):
                await publish(session, "app", tag, make_image({"tag": tag.encode()}))
            await here.pull(f"{host}/app")
            assert sorted(name for image in here.images.list() for name in image.tags) == [
                f"{host}/app:a",
                f"{host}/app:b",
            ]

    run(test)


@pytest.mark.row("I-015")
@pytest.mark.row("I-016")
def test_layers_packed_in_every_way_are_pulled(tmp_path):
    async def test() -> None:
        trees = [tar({name: name.encode()}) for name in ("plain", "zstd", "members")]
        half = len(trees[2]) // 2
        packed = [
            trees[0],
            zstandard.compress(trees[1]),
            gzip.compress(trees[2][:half]) + gzip.compress(trees[2][half:]),
        ]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": list(map(digest, trees))},
        }
        image = assemble(packed, json.dumps(config).encode())
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            await publish(session, "app", "v1", image)
            await here.pull(f"{host}/app:v1")
            layers = here.images.resolve(f"{host}/app:v1").layers
            found = [os.listdir(here.layers.path(layer)) for layer in layers]
            assert found == [["plain"], ["zstd"], ["members"]]
            # And pushed on as they came.
            await here.images.tag(here.images.resolve(f"{host}/app:v1"), parse_reference(f"{host}/other:v1"))
            await here.push(f"{host}/other:v1")
            async with session.get("/v2/other/manifests/v1") as answer:
                assert await answer.read() == image.manifest

    run(test)


@pytest.mark.row("E-247")
@pytest.mark.row("I-100")
@pytest.mark.row("I-104")
@pytest.mark.row("I-105")
def test_a_push_says_what_docker_says_and_mounts_what_is_there(tmp_path):
    async def test() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            await captured(here, tmp_path, {"a": b"1" * 5000}, {"b": b"2" * 5000}, name=f"{host}/app:v1")
            image = here.images.resolve(f"{host}/app:v1")
            await here.push(f"{host}/app:v1")
            said = here.said()
            layers = [layer[7:19] for layer in image.layers]
            assert said[:3] == [f"The push refers to repository [{host}/app]", *(f"{one}: Preparing" for one in layers)]
            assert {f"{one}: Pushed" for one in layers} < set(said)
            async with session.get("/v2/app/manifests/v1") as answer:
                manifest = await answer.read()
            assert said[-1] == f"v1: digest: {digest(manifest)} size: {len(manifest)}"
            aux = here.messages[-1].aux
            assert (aux.tag, aux.digest, aux.size) == ("v1", digest(manifest), len(manifest))
            assert here.images.resolve(f"{host}/app:v1").digests == (f"{host}/app@{digest(manifest)}",)
            here.messages.clear()
            await here.push(f"{host}/app:v1")
            assert {f"{one}: Layer already exists" for one in layers} < set(here.said())
            here.messages.clear()
            await here.images.tag(image, parse_reference(f"{host}/other:v1"))
            await here.push(f"{host}/other:v1")
            assert {f"{one}: Mounted from app" for one in layers} < set(here.said())
        async with serving(tmp_path / "registry") as (again, _), room(tmp_path / "second") as there:
            await there.pull(f"{again}/other:v1")
            second = there.images.resolve(f"{again}/other:v1")
            assert second.id == image.id
            assert Path(there.layers.path(second.layers[0]), "a").read_bytes() == b"1" * 5000

    run(test)


@pytest.mark.row("I-102")
def test_a_pulled_image_is_pushed_on_with_the_same_digest(tmp_path):
    async def test() -> None:
        async with serving(tmp_path / "one") as (one, session), serving(tmp_path / "two") as (two, other):
            await publish(session, "app", "v1", IMAGE)
            async with room(tmp_path / "root") as here:
                await here.pull(f"{one}/app:v1")
                await here.images.tag(here.images.resolve(f"{one}/app:v1"), parse_reference(f"{two}/copy:v2"))
                await here.push(f"{two}/copy:v2")
            async with other.get("/v2/copy/manifests/v2") as answer:
                assert await answer.read() == IMAGE.manifest

    run(test)


def test_what_is_not_here_is_not_pushed(tmp_path):
    async def test() -> None:
        async with room(tmp_path) as here:
            with pytest.raises(NotFound, match="An image does not exist locally with the tag: app"):
                await here.push("app:v1")
            with pytest.raises(NotFound, match="An image does not exist locally with the tag: app"):
                await here.push("app")

    run(test)


@pytest.mark.row("I-139")
@pytest.mark.row("E-046")
@pytest.mark.row("E-048")
@pytest.mark.row("S-52")
def test_what_is_saved_can_be_loaded_and_is_the_same_twice(tmp_path):
    async def test() -> None:
        async with room(tmp_path / "one") as here:
            await captured(here, tmp_path, {"a": b"1"}, {"b": b"2"})
            await here.images.tag(here.images.resolve("built:1"), parse_reference("built:latest"))
            archive = await here.save("built")
            assert await here.save("built") == archive
            image = here.images.resolve("built:1")
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            members = opened.getmembers()
            assert {(one.uid, one.gid, one.mtime, one.uname) for one in members} == {(0, 0, 0, "")}
            (entry,) = json.load(opened.extractfile("manifest.json"))
            assert entry["RepoTags"] == ["built:1", "built:latest"]
            assert {entry["Config"], *entry["Layers"], "index.json", "oci-layout"} < {one.name for one in members}
            index = json.load(opened.extractfile("index.json"))
            assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "docker.io/library/built:1"
        async with room(tmp_path / "two") as there:
            await there.load(archive)
            assert there.said()[-2:] == ["Loaded image: built:1", "Loaded image: built:latest"]
            loaded = there.images.resolve("built:1")
            assert loaded.id == image.id
            assert Path(there.layers.path(loaded.layers[1]), "b").read_bytes() == b"2"
            assert await there.save("built") == archive
            assert not list((tmp_path / "two" / "ingest").iterdir())

    run(test)


def docker_archive(*entries: dict[str, object], **files: bytes) -> bytes:
    return tar(
        {
            "manifest.json": json.dumps(entries).encode(),
            **{name.replace("__", "/"): data for name, data in files.items()},
        }
    )


@pytest.mark.row("E-048")
def test_old_archives_with_plain_tars_and_links_are_loaded(tmp_path):
    async def test() -> None:
        layer = tar({"f": b"1"})
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(layer)] * 2}}
        ).encode()
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            entries = [{"Config": "c.json", "RepoTags": None, "Layers": ["one/layer.tar", "two/layer.tar"]}]
            for name, data in {
                "one/layer.tar": layer,
                "c.json": config,
                "manifest.json": json.dumps(entries).encode(),
            }.items():
                info = tarfile.TarInfo("./" + name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("two/layer.tar")
            link.type, link.linkname = tarfile.SYMTYPE, "../one/layer.tar"
            archive.addfile(link)
        async with room(tmp_path) as here:
            await here.load(gzip.compress(out.getvalue()))
            assert here.said()[-1] == f"Loaded image ID: {digest(config)}"
            assert here.images.resolve(digest(config)).tags == ()

    run(test)


@pytest.mark.row("S-52")
def test_names_in_an_archive_are_no_paths(tmp_path):
    async def test() -> None:
        layer = tar({"f": b"1"})
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(layer)]}}
        ).encode()
        (tmp_path / "secret").write_bytes(config)
        good = {"Config": "c", "RepoTags": ["x:1"], "Layers": ["l"]}
        async with room(tmp_path / "root") as here:
            for bad in [
                {**good, "Config": str(tmp_path / "secret")},
                {**good, "Config": "../../secret"},
                {**good, "Layers": ["/etc/passwd"]},
                {**good, "Layers": []},
                {**good, "RepoTags": ["../../x"]},
                {**good, "RepoTags": ["x@" + digest(b"")]},
                {**good, "Config": 5},
            ]:
                with pytest.raises((InvalidArgument, Corrupt)):
                    await here.load(docker_archive(bad, c=config, l=layer))
            for archive in (tar({"etc/passwd": b"root"}), tar({"manifest.json": b"{"}), b"", b"no tar at all" * 100):
                with pytest.raises((InvalidArgument, Corrupt)):
                    await here.load(archive)
            wrong = tar({"f": b"2"})
            with pytest.raises(Corrupt, match="don't match image configuration"):
                await here.load(docker_archive(good, c=config, l=wrong))
            assert not len(here.images)
            assert not list((tmp_path / "root" / "ingest").iterdir())
            await here.load(docker_archive(good, c=config, l=layer))
            assert here.images.resolve("x:1").id == digest(config)

    run(test)


@pytest.mark.row("E-048")
def test_an_oci_layout_is_loaded_and_its_digests_are_looked_at(tmp_path):
    async def test() -> None:
        index = {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": digest(IMAGE.manifest),
                    "size": len(IMAGE.manifest),
                    "annotations": {"org.opencontainers.image.ref.name": "example.com/app:v1"},
                }
            ],
        }
        files = {f"blobs/sha256/{digest(blob)[7:]}": blob for blob in (*IMAGE.blobs, IMAGE.manifest)}
        layout = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(), **files}
        async with room(tmp_path) as here:
            for blob in IMAGE.blobs:
                damaged = {**layout, f"blobs/sha256/{digest(blob)[7:]}": blob[::-1]}
                with pytest.raises(Corrupt, match="has the digest"):
                    await here.load(tar(damaged))
            await here.load(tar(layout))
            assert here.said()[-1] == "Loaded image: example.com/app:v1"
            assert here.images.resolve("example.com/app:v1").id == IMAGE.id

    run(test)


def test_a_loaded_name_moves_and_says_so(tmp_path):
    async def test() -> None:
        async with room(tmp_path / "one") as here:
            await captured(here, tmp_path / "one", {"a": b"1"}, name="app:1")
            archive = await here.save("app:1")
        async with room(tmp_path / "two") as there:
            old = await captured(there, tmp_path / "two", {"a": b"2"}, name="app:1")
            await there.load(archive)
            assert f"The image app:1 already exists, renaming the old one with ID {old} to empty string" in there.said()
            assert there.images.resolve(old).tags == ()

    run(test)


@pytest.mark.row("E-029")
def test_an_import_can_be_pushed_and_comes_back(tmp_path):
    async def test() -> None:
        async with serving(tmp_path / "registry") as (host, _), room(tmp_path / "root") as here:
            archive = tar({"bin/tool": b"x" * 9000})
            config = RunConfig(cmd=["/bin/tool"])
            name = parse_reference(f"{host}/imported:1")
            image = await import_image(here.images, pieces(archive), name=name, config=config)
            assert image.layers == [digest(archive)]
            await here.push(f"{host}/imported:1")
            # The plain tar has given way to the gzip that was pushed.
            assert not here.content.has(digest(archive))
            async with room(tmp_path / "other") as there:
                await there.pull(f"{host}/imported:1")
                assert there.images.resolve(f"{host}/imported:1").config.run.cmd == ["/bin/tool"]
            with pytest.raises(Corrupt):
                await import_image(here.images, pieces(b"\x1f\x8bbroken"), name=None)
            assert not list((tmp_path / "root" / "ingest").iterdir())

    run(test)


@pytest.mark.row("E-035")
@pytest.mark.row("E-264")
def test_an_image_goes_with_its_last_name(tmp_path):
    async def test() -> None:
        async with room(tmp_path / "root") as here:
            image_id = await captured(here, tmp_path, {"a": b"1"})
            images = here.images
            await images.tag(images.resolve("built:1"), parse_reference("other:2"))
            layers = images.resolve("built:1").layers
            assert await images.remove("built:1", force=False, prune=True, users=nobody) == [{"Untagged": "built:1"}]
            with pytest.raises(NotFound, match="No such image: built:1"):
                images.resolve("built:1")
            assert await images.remove("other:2", force=False, prune=True, users=nobody) == [
                {"Untagged": "other:2"},
                {"Deleted": image_id},
                {"Deleted": layers[0]},
            ]
            assert not here.layers.has(layers[0])
            assert list(here.content.walk()) == []

    run(test)


@pytest.mark.row("I-137")
@pytest.mark.row("E-035")
@pytest.mark.row("E-264")
def test_images_in_use_are_refused_in_dockers_words(tmp_path):
    async def test() -> None:
        async with room(tmp_path / "root") as here:
            image_id = await captured(here, tmp_path, {"a": b"1"})
            images, short = here.images, image_id[7:19]

            def stopped(_image: str) -> list[tuple[str, bool]]:
                return [("c" * 64, False)]

            def running(_image: str) -> list[tuple[str, bool]]:
                return [("c" * 64, True)]

            with pytest.raises(Conflict) as caught:
                await images.remove("built:1", force=False, prune=True, users=stopped)
            assert str(caught.value) == (
                'conflict: unable to remove repository reference "built:1" (must force) - '
                f"container {'c' * 12} is using its referenced image {short}"
            )
            with pytest.raises(Conflict) as caught:
                await images.remove(image_id, force=True, prune=True, users=running)
            assert str(caught.value) == (
                f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container {'c' * 12}"
            )
            with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container"):
                await images.remove(image_id[:15], force=False, prune=True, users=stopped)
            await images.tag(images.resolve("built:1"), parse_reference("built:2"))
            with pytest.raises(Conflict, match=r"\(must be forced\) - image is referenced in multiple repositories"):
                await images.remove(image_id, force=False, prune=True, users=nobody)
            assert await images.remove("built:2", force=True, prune=True, users=running) == [{"Untagged": "built:2"}]
            # Forced away by name, it stays for its container.
            assert await images.remove("built:1", force=True, prune=True, users=running) == [{"Untagged": "built:1"}]
            assert images.find(image_id)

    run(test)


@pytest.mark.row("E-035")
def test_parents_without_a_name_go_with_their_last_child(tmp_path):
    async def test() -> None:
        async with room(tmp_path / "root") as here:
            images = here.images
            parent = await captured(here, tmp_path, {"a": b"1"}, name="base:1")
            child = await captured(here, tmp_path, {"b": b"1"}, name="child:1", parent=parent)
            with pytest.raises(Conflict, match=r"\(cannot be forced\) - image has dependent child images"):
                await images.remove(parent, force=True, prune=True, users=nobody)
            assert await images.remove("base:1", force=False, prune=True, users=nobody) == [{"Untagged": "base:1"}]
            deleted = await images.remove("child:1", force=False, prune=True, users=nobody)
            assert [entry.get("Deleted") for entry in deleted if entry.get("Deleted") in (parent, child)] == [
                child,
                parent,
            ]
            assert not len(images)

    run(test)


@pytest.mark.row("I-138")
@pytest.mark.row("E-037")
def test_prune_takes_what_has_no_tag_and_no_container(tmp_path):
    async def test() -> None:
        async with room(tmp_path / "root") as here:
            images = here.images
            tagged = await captured(here, tmp_path, {"a": b"1" * 100}, name="kept:1")
            dangling = await captured(here, tmp_path / "2", {"a": b"2" * 100}, name="kept:2")
            used = await captured(here, tmp_path / "3", {"a": b"3" * 100}, name="kept:3")
            await images.untag(dangling, ["docker.io/library/kept:2"])
            await images.untag(used, ["docker.io/library/kept:3"])

            def users(image: str) -> list[tuple[str, bool]]:
                return [("c" * 64, False)] if image == used else []

            deleted, freed = await images.prune(dangling_only=True, wanted=lambda _image: True, users=users)
            assert deleted[0] == {"Deleted": dangling}
            assert freed == 100
            assert {image.id for image in images.list()} == {tagged, used}
            deleted, _ = await images.prune(dangling_only=False, wanted=lambda _image: True, users=users)
            assert deleted[:2] == [{"Untagged": "kept:1"}, {"Deleted": tagged}]

    run(test)


@pytest.mark.row("I-062")
@pytest.mark.row("R-31")
def test_layers_that_are_leased_outlive_their_image(tmp_path):
    async def test() -> None:
        async with room(tmp_path / "root") as here:
            image_id = await captured(here, tmp_path, {"a": b"1"})
            layers = here.images.resolve(image_id).layers
            release = here.images.lease(layers)
            await here.images.remove(image_id, force=True, prune=True, users=nobody)
            assert here.layers.has(layers[0])
            release()
            assert await here.images.sweep(layers_in_use=set(layers)) == 0
            assert await here.images.sweep(layers_in_use=()) == 1
            assert not here.layers.has(layers[0])

    run(test)


def test_images_are_there_again_after_a_restart(tmp_path):
    async def test() -> None:
        async with room(tmp_path / "root") as here:
            await captured(here, tmp_path, {"a": b"1"})
            before = here.images.list()
        async with room(tmp_path / "root") as here:
            assert here.images.list() == before
            blob = Path(here.content.path(before[0].id))
            blob.write_bytes(blob.read_bytes().replace(b"amd64", b"arm64"))
        async with room(tmp_path / "root") as here:
            assert not len(here.images)

    run(test)


def test_docker_manifests_are_made_for_layers_that_docker_knows(tmp_path):
    async def test() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            await captured(here, tmp_path, {"a": b"1"}, name=f"{host}/app:1")
            await here.push(f"{host}/app:1")
            async with session.get("/v2/app/manifests/1") as answer:
                assert answer.headers["Content-Type"] == DOCKER_MANIFEST

    run(test)


def damage(file: Path) -> None:
    """One byte of it is another one."""
    with file.open("r+b") as opened:
        first = opened.read(1)
        opened.seek(0)
        opened.write(bytes([first[0] ^ 1]))


@pytest.mark.row("R-12")
@pytest.mark.parametrize("blob_too", [False, True])
def test_an_image_that_is_pulled_again_is_whole_again(tmp_path, blob_too: bool) -> None:
    async def test() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            await publish(session, "team/app", "v1", IMAGE)
            name = f"{host}/team/app:v1"
            await here.pull(name)
            layer = here.images.resolve(name).layers[1]
            file = Path(here.layers.path(layer), "etc/two")
            damage(file)
            if blob_too:
                damage(Path(here.content.path(Digest(digest(IMAGE.layers[1])))))
            here.messages.clear()
            await here.pull(name)
            assert file.read_bytes() == b"2"
            two = digest(IMAGE.layers[1])[7:19]
            assert (f"{two}: Pulling fs layer" in here.said()) == blob_too
            assert here.content.verify(Digest(digest(IMAGE.layers[1])))

    run(test)


@pytest.mark.row("R-12")
def test_a_damaged_layer_is_not_replaced_under_a_container_that_runs(tmp_path) -> None:
    async def test() -> None:
        async with serving(tmp_path / "registry") as (host, session), room(tmp_path / "root") as here:
            await publish(session, "team/app", "v1", IMAGE)
            name = f"{host}/team/app:v1"
            await here.pull(name)
            layer = here.images.resolve(name).layers[1]
            file = Path(here.layers.path(layer), "etc/two")
            damage(file)
            here.images.is_running_on = lambda diff_id: diff_id == layer
            await here.pull(name)
            assert await heal_all(here.images) == [layer]
            assert file.read_bytes() == b"3"
            here.images.is_running_on = lambda _: False
            assert await heal_all(here.images) == []
            assert file.read_bytes() == b"2"

    run(test)
