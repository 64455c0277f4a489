"""What buildx gets out of a build: an image, archives, files."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.buildx import Buildx
from tests.clients.daemon import Daemon, running

pytestmark = pytest.mark.root

RESULT = "FROM busybox AS made\nRUN echo built > /out && chmod 750 /out && ln -s out /link\nFROM scratch\nCOPY --from=made /out /link /d/\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture
def buildx(daemon: Daemon, tmp_path: Path) -> Buildx:
    return Buildx(daemon, tmp_path)


@pytest.mark.row("F-182")
@pytest.mark.row("F-296")
def test_a_local_output_is_the_files_of_the_result(buildx: Buildx) -> None:
    buildx.context(RESULT)
    buildx.build("--output", "type=local,dest=out")
    place = buildx.directory / "out" / "d"
    assert (place / "out").read_text() == "built\n"
    assert (place / "out").stat().st_mode & 0o777 == 0o750
    assert sorted(os.listdir(place)) == ["link", "out"]
    buildx.build("--output", "short")
    assert (buildx.directory / "short" / "d" / "out").read_text() == "built\n"


@pytest.mark.row("F-183")
def test_a_tar_output_is_one_archive_of_those_files(buildx: Buildx) -> None:
    buildx.context(RESULT)
    buildx.build("--output", "type=tar,dest=out.tar")
    with tarfile.open(buildx.directory / "out.tar") as archive:
        found = {member.name.strip("./"): member for member in archive}
        assert {"d", "d/out", "d/link"} <= set(found)
        out = archive.extractfile(found["d/out"])
        assert out is not None
        assert out.read() == b"built\n"


@pytest.mark.row("F-185")
def test_a_docker_archive_loads_and_runs(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nRUN echo from-an-archive > /f\n")
    buildx.build("--output", "type=docker,dest=image.tar", "-t", "archived:1")
    assert buildx.run("inspect", "archived:1").returncode != 0
    buildx.ok("load", "-i", "image.tar")
    assert buildx.ok("run", "--rm", "--network=none", "archived:1", "cat", "/f").stdout == "from-an-archive\n"


@pytest.mark.row("F-184")
@pytest.mark.row("F-196")
def test_an_oci_archive_is_a_layout_with_the_image_under_its_name(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nLABEL is=oci\n")
    buildx.build("--output", "type=oci,dest=image.tar", "-t", "layout:2", "--metadata-file", "meta")
    with tarfile.open(buildx.directory / "image.tar") as archive:

        def blob(name: str) -> dict[str, object]:
            file = archive.extractfile(name)
            assert file is not None
            document: dict[str, object] = json.loads(file.read())
            return document

        assert blob("oci-layout") == {"imageLayoutVersion": "1.0.0"}
        (entry,) = blob("index.json")["manifests"]  # type: ignore[misc]
        assert entry["annotations"]["org.opencontainers.image.ref.name"] == "2"
        manifest = blob(f"blobs/sha256/{entry['digest'][7:]}")
        assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
        config = blob(f"blobs/sha256/{manifest['config']['digest'][7:]}")  # type: ignore[index]
    assert config["config"]["Labels"] == {"is": "oci"}  # type: ignore[index]
    metadata = json.loads((buildx.directory / "meta").read_text())
    assert metadata["containerimage.digest"] == metadata["containerimage.descriptor"]["digest"] == entry["digest"]


@pytest.mark.row("F-195")
def test_several_outputs_come_from_one_build(buildx: Buildx) -> None:
    buildx.context("FROM scratch\nCOPY f /f\n", f="x")
    buildx.build("-o", "type=local,dest=files", "-o", "type=tar,dest=all.tar", "-o", "type=image", "-t", "both")
    assert (buildx.directory / "files" / "f").read_text() == "x"
    assert (buildx.directory / "all.tar").stat().st_size > 1024
    assert buildx.ok("inspect", "-f", "{{.Id}}", "both").stdout.startswith("sha256:")


@pytest.mark.row("F-194")
@pytest.mark.row("F-197")
def test_a_build_for_the_cache_alone_and_one_that_fails_name_nothing(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nRUN echo only-cached\n")
    buildx.build("-o", "type=cacheonly", "-t", "unnamed")
    assert buildx.run("inspect", "unnamed").returncode != 0
    buildx.context("FROM busybox\nRUN exit 3\n")
    assert buildx.run("build", "-t", "unnamed", "c").returncode == 1
    assert buildx.run("inspect", "unnamed").returncode != 0


@pytest.mark.row("F-173")
@pytest.mark.row("F-300")
def test_a_context_may_come_as_an_archive_or_as_a_dockerfile_on_stdin(buildx: Buildx) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in (("Dockerfile", "FROM busybox\nCOPY in /in\n"), ("in", "from-stdin\n")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    buildx.ok("build", "-t", "piped", "-", text=data.getvalue())
    assert buildx.ok("run", "--rm", "--network=none", "piped", "cat", "/in").stdout == "from-stdin\n"
    buildx.ok("build", "-t", "text", "-", text="FROM busybox\nENV A=stdin\n")
    assert "A=stdin" in buildx.ok("inspect", "-f", "{{.Config.Env}}", "text").stdout
    buildx.context("FROM nothing\n", f="local\n")
    buildx.ok("build", "-t", "mixed", "-f", "-", "c", text="FROM busybox\nCOPY f /f\n")
    assert buildx.ok("run", "--rm", "--network=none", "mixed", "cat", "/f").stdout == "local\n"


def layout(path: Path) -> Callable[[str], dict[str, Any]]:
    """Reads documents of an OCI archive or directory: by name, or by digest."""

    def read(name: str) -> dict[str, Any]:
        name = f"blobs/sha256/{name[7:]}" if name.startswith("sha256:") else name
        if path.is_dir():
            document: dict[str, Any] = json.loads((path / name).read_text())
            return document
        with tarfile.open(path) as archive:
            file = archive.extractfile(name)
            assert file is not None
            document = json.loads(file.read())
            return document

    return read


@pytest.mark.row("F-208")
@pytest.mark.row("F-209")
@pytest.mark.row("F-212")
@pytest.mark.row("F-359")
def test_provenance_stands_beside_the_image_in_one_index(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nARG A\nLABEL a=$A\n")
    buildx.build(
        "--provenance=mode=max", "--build-arg", "A=told", "-o", "type=oci,dest=image.tar", "-t", "with:provenance"
    )
    read = layout(buildx.directory / "image.tar")
    (top,) = read("index.json")["manifests"]
    image, attestation = read(top["digest"])["manifests"]
    assert attestation["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert attestation["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
    assert attestation["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    (layer,) = read(attestation["digest"])["layers"]
    assert layer["mediaType"] == "application/vnd.in-toto+json"
    statement = read(layer["digest"])
    assert statement["predicateType"] == layer["annotations"]["in-toto.io/predicate-type"]
    (subject,) = statement["subject"]
    assert subject["digest"]["sha256"] == image["digest"][7:]
    assert subject["name"].startswith("pkg:docker/with@provenance?platform=linux%2F")
    assert statement["predicate"]["invocation"]["parameters"]["args"]["build-arg:A"] == "told"
    assert any("busybox" in each["uri"] for each in statement["predicate"]["materials"])


@pytest.mark.row("F-202")
@pytest.mark.row("F-356")
def test_several_platforms_are_one_index(buildx: Buildx) -> None:
    buildx.context("FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY f /f\n", f="x")
    buildx.build("--platform", "linux/amd64,linux/arm64", "-o", "type=oci,dest=image.tar")
    read = layout(buildx.directory / "image.tar")
    (top,) = read("index.json")["manifests"]
    found = {}
    for entry in read(top["digest"])["manifests"]:
        config = read(read(entry["digest"])["config"]["digest"])
        assert config["architecture"] == entry["platform"]["architecture"]
        found[config["architecture"]] = config["config"]["Labels"]["arch"]
    assert found == {"amd64": "amd64", "arm64": "arm64"}
    buildx.build("--platform", "linux/amd64,linux/arm64", "-o", "type=local,dest=files")
    assert sorted(os.listdir(buildx.directory / "files")) == ["linux_amd64", "linux_arm64"]


@pytest.mark.row("F-302")
@pytest.mark.row("F-175")
def test_a_layout_in_a_directory_is_written_and_built_upon(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nRUN echo in-a-layout > /word\n")
    buildx.build("-o", "type=oci,dest=laid,tar=false", "-t", "laid:1")
    read = layout(buildx.directory / "laid")
    (top,) = read("index.json")["manifests"]
    assert read(top["digest"])["layers"]
    buildx.context("FROM base\nRUN cat /word\n")
    said = buildx.build("--build-context", f"base=oci-layout://laid@{top['digest']}", "--no-cache")
    assert " in-a-layout" in said


@pytest.mark.row("F-191")
@pytest.mark.row("F-199")
@pytest.mark.row("F-340")
def test_annotations_stand_where_they_are_asked_for(buildx: Buildx) -> None:
    buildx.context("FROM scratch\nCOPY f /f\n", f="x")
    words = [
        "manifest:m=1",
        "index:i=2",
        "manifest-descriptor:d=3",
        "index-descriptor:t=4",
        "manifest[linux/arm64]:only=arm",
    ]
    flags = [word for each in words for word in ("--annotation", each)]
    buildx.build("--platform", "linux/amd64,linux/arm64", "-o", "type=oci,dest=image.tar", *flags)
    read = layout(buildx.directory / "image.tar")
    (top,) = read("index.json")["manifests"]
    assert top["annotations"]["t"] == "4"
    index = read(top["digest"])
    assert index["annotations"] == {"i": "2"}
    assert all(entry["annotations"] == {"d": "3"} for entry in index["manifests"])
    assert read(index["manifests"][0]["digest"])["annotations"] == {"m": "1"}
    assert read(index["manifests"][1]["digest"])["annotations"] == {"m": "1", "only": "arm"}


@pytest.mark.row("F-193")
def test_layers_come_in_the_compression_that_is_asked_for(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nRUN head -c 100000 /dev/zero > /zeros\n")
    sizes = {}
    for kind, media in (("zstd", "tar+zstd"), ("gzip", "tar+gzip"), ("uncompressed", "layer.v1.tar")):
        target = f"{kind}.tar"
        buildx.build("-o", f"type=oci,dest={target},compression={kind},force-compression=true,compression-level=3")
        read = layout(buildx.directory / target)
        layers = read(read("index.json")["manifests"][0]["digest"])["layers"]
        assert all(layer["mediaType"].endswith(media) for layer in layers)
        sizes[kind] = layers[-1]["size"]
    assert sizes["zstd"] < sizes["uncompressed"]
    assert sizes["uncompressed"] > 100_000
    refused = buildx.run("build", "-o", "type=oci,dest=x.tar,compression=lzma", "c")
    assert "unsupported layer compression type" in refused.stderr


@pytest.mark.row("F-210")
@pytest.mark.row("F-211")
@pytest.mark.row("F-341")
def test_an_sbom_lists_the_packages_of_the_image(buildx: Buildx) -> None:
    status = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\n"
    metadata = "Metadata-Version: 2.1\nName: flask\nVersion: 3.0\n"
    buildx.context(
        "FROM scratch\nCOPY status /var/lib/dpkg/status\nCOPY m /usr/lib/python3/flask-3.0.dist-info/METADATA\n"
        "COPY p /app/node_modules/left-pad/package.json\nCOPY r /etc/os-release\n",
        status=status,
        m=metadata,
        p='{"name":"left-pad","version":"1.3.0"}',
        r="ID=debian\n",
    )
    buildx.build("--sbom=true", "-o", "type=oci,dest=image.tar")
    read = layout(buildx.directory / "image.tar")
    attestation = read(read("index.json")["manifests"][0]["digest"])["manifests"][1]
    (layer,) = read(attestation["digest"])["layers"]
    assert layer["annotations"]["in-toto.io/predicate-type"] == "https://spdx.dev/Document"
    document = read(layer["digest"])["predicate"]
    found = {each["externalRefs"][0]["referenceLocator"] for each in document["packages"]}
    assert found == {"pkg:deb/debian/bash@5.2?arch=amd64", "pkg:pypi/flask@3.0", "pkg:npm/left-pad@1.3.0"}


@pytest.mark.row("F-192")
@pytest.mark.row("F-215")
def test_an_image_with_rewritten_times_is_the_same_when_it_is_built_again(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nRUN sleep 1.1; echo x > /x\nCOPY f /d/f\n", f="text")
    output = "type=image,name=same,rewrite-timestamp=true"
    found = set()
    for _ in range(2):
        buildx.ok(
            "buildx", "build", "--no-cache", "--provenance=false", "-o", output, "c", SOURCE_DATE_EPOCH="1700000000"
        )
        found.add(buildx.ok("image", "inspect", "-f", "{{.Id}} {{.Created}}", "same").stdout)
    assert len(found) == 1
    assert "2023-11-14T22:13:20Z" in found.pop()
