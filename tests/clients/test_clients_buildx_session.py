"""What a build asks its client for over the session: secrets, an ssh agent, registry logins, directories."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import Buildx
from tests.clients.daemon import Daemon, running
from tests.clients.test_clients_ship import locked_registry, registry

__all__ = ["locked_registry", "registry"]

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture
def buildx(daemon: Daemon, tmp_path: Path) -> Buildx:
    return Buildx(daemon, tmp_path)


@pytest.mark.row("F-298")
@pytest.mark.row("F-220")
@pytest.mark.row("F-363")
def test_secrets_reach_the_step_and_nothing_else(buildx: Buildx, daemon: Daemon) -> None:
    buildx.context(
        "FROM busybox\n"
        "RUN --mount=type=secret,id=file --mount=type=secret,id=env,env=TOKEN"
        " tr a-z A-Z < /run/secrets/file && echo $TOKEN | tr a-z A-Z\n"
    )
    (buildx.directory / "secret").write_text("frombuildxfile")
    said = buildx.build(
        "--secret", "id=file,src=secret", "--secret", "id=env,env=MINE", "-t", "s", MINE="frombuildxenv"
    )
    assert "FROMBUILDXFILE" in said
    assert "FROMBUILDXENV" in said
    everything = buildx.ok("inspect", "s").stdout + buildx.ok("history", "--no-trunc", "s").stdout
    everything += buildx.ok("buildx", "du", "--verbose").stdout + daemon.log.read_text()
    assert "frombuildx" not in everything
    for path in daemon.root.rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 20:
            assert b"frombuildx" not in path.read_bytes(), path
    buildx.context("FROM busybox\nRUN --mount=type=secret,id=none,required=true true\n")
    assert "secret none: not found" in buildx.run("build", "c").stderr


@pytest.mark.row("F-299")
@pytest.mark.row("F-221")
@pytest.mark.row("F-066")
def test_the_clients_ssh_agent_answers_in_a_step(buildx: Buildx) -> None:
    agent = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    env = dict(re.findall(r"(SSH_\w+)=([^;]+);", agent))
    try:
        key = buildx.directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "buildx-test", "-f", str(key)], check=True)
        subprocess.run(
            ["ssh-add", "-q", str(key)], check=True, env=buildx.environment(**env), stderr=subprocess.DEVNULL
        )
        place = buildx.context("FROM busybox\nCOPY root /\nRUN --mount=type=ssh ssh-add -l && ssh-add -l\n")
        copy_program(place / "root", shutil.which("ssh-add") or "")
        said = buildx.build("--ssh", "default", **env)
        assert said.count("buildx-test (ED25519)") == 2
        assert "ssh-add -l" in buildx.run("build", "--no-cache", "c").stderr
    finally:
        subprocess.run(["kill", env["SSH_AGENT_PID"]], check=True)


def copy_program(root: Path, program: str) -> None:
    """With the libraries that it needs."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in [program, *re.findall(r"(/\S+)", listed)]:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


@pytest.mark.row("F-186")
@pytest.mark.row("F-188")
def test_a_build_may_push_its_image(buildx: Buildx, registry: str) -> None:
    buildx.context("FROM busybox\nLABEL pushed=yes\n")
    said = buildx.build("--push", "-t", f"{registry}/made/by:buildx", "--metadata-file", "meta")
    assert "pushing" in said
    digest = json.loads((buildx.directory / "meta").read_text())["containerimage.digest"]
    buildx.ok("rmi", f"{registry}/made/by:buildx")
    buildx.ok("pull", f"{registry}/made/by@{digest}")


@pytest.mark.row("F-188")
def test_an_image_can_be_pushed_when_the_pulled_base_it_stands_on_has_gone(buildx: Buildx, registry: str) -> None:
    buildx.context("FROM busybox\nRUN echo base > /base\n")
    buildx.build("--push", "-t", f"{registry}/base:1")
    buildx.ok("rmi", f"{registry}/base:1")
    buildx.ok("buildx", "prune", "-af")
    buildx.context(f"FROM {registry}/base:1\nRUN echo derived > /derived\n")
    buildx.build("--pull", "-t", f"{registry}/derived:1")
    buildx.ok("rmi", f"{registry}/base:1")
    buildx.ok("push", f"{registry}/derived:1")


@pytest.mark.row("F-297")
@pytest.mark.row("F-222")
def test_the_login_for_a_base_and_for_a_push_stays_with_the_client(buildx: Buildx, locked_registry: str) -> None:
    buildx.context("FROM busybox\nENV IN=locked\n")
    refused = buildx.run("build", "--push", "-t", f"{locked_registry}/p:1", "c")
    assert refused.returncode == 1
    assert "unauthorized" in refused.stderr.lower() or "denied" in refused.stderr.lower()
    config = json.loads((buildx.config / "config.json").read_text())
    config["auths"] = {locked_registry: {"auth": base64.b64encode(b"anna:secret").decode()}}
    (buildx.config / "config.json").write_text(json.dumps(config))
    buildx.build("--push", "-t", f"{locked_registry}/p:1")
    buildx.ok("rmi", f"{locked_registry}/p:1")
    buildx.context(f"FROM {locked_registry}/p:1\nRUN test $IN = locked\n")
    buildx.build("--pull")


@pytest.mark.row("F-175")
@pytest.mark.row("F-128")
@pytest.mark.row("F-343")
def test_named_contexts_come_from_their_own_directories(buildx: Buildx) -> None:
    buildx.context("FROM busybox\nCOPY --from=extra . /extra\nCOPY . /main\n", f="1")
    other = buildx.directory / "other"
    other.mkdir()
    (other / "kept").write_text("kept")
    (other / "hidden").write_text("hidden")
    (other / ".dockerignore").write_text("hidden\n")
    buildx.build("--build-context", "extra=other", "-t", "contexts")
    found = buildx.ok("run", "--rm", "--network=none", "contexts", "sh", "-c", "ls /extra /main").stdout.split()
    assert "kept" in found
    assert "hidden" not in found
    assert "f" in found


@pytest.mark.row("F-177")
@pytest.mark.row("F-126")
def test_only_files_that_are_named_are_sent(buildx: Buildx) -> None:
    big = "x" * 500_000
    place = buildx.context("FROM scratch\nCOPY small /\n", small="1", large=big, ignored=big)
    (place / ".dockerignore").write_text("ignored\n")
    said = [line for line in buildx.build().splitlines() if "transferring context:" in line]
    assert not any("kB" in line or "MB" in line for line in said), said
    (place / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (sent,) = re.findall(r"transferring context: ([\d.]+)kB", buildx.build())
    assert 500 < float(sent) < 600


@pytest.mark.row("F-202")
@pytest.mark.row("F-206")
@pytest.mark.row("F-212")
@pytest.mark.row("F-324")
def test_a_push_of_several_platforms_is_an_index_with_what_is_said_of_them(buildx: Buildx, registry: str) -> None:
    buildx.context("FROM scratch\nCOPY f /f\n", f="anywhere")
    name = f"{registry}/several:1"
    buildx.build("--platform", "linux/amd64,linux/arm64", "--provenance=true", "--push", "-t", name)
    index = json.loads(buildx.ok("buildx", "imagetools", "inspect", "--raw", name).stdout)
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    platforms = [entry["platform"]["architecture"] for entry in index["manifests"]]
    assert platforms == ["amd64", "arm64", "unknown", "unknown"]
    shown = buildx.ok("buildx", "imagetools", "inspect", name, "--format", "{{json .Provenance}}").stdout
    assert set(json.loads(shown)) == {"linux/amd64", "linux/arm64"}
    buildx.ok("rmi", name)
    buildx.ok("pull", name)
    assert buildx.ok("inspect", "-f", "{{.Os}}", name).stdout.strip() == "linux"


@pytest.mark.row("F-311")
@pytest.mark.row("F-052")
def test_a_pushed_image_is_known_by_its_digest_afterwards(buildx: Buildx, registry: str) -> None:
    buildx.context("FROM busybox\nLABEL known=yes\n")
    name = f"{registry}/known:1"
    buildx.build("--push", "-t", name, "--metadata-file", "meta")
    digest = json.loads((buildx.directory / "meta").read_text())["containerimage.digest"]
    assert digest in buildx.ok("inspect", "-f", "{{.RepoDigests}}", name).stdout
    assert digest in buildx.ok("buildx", "imagetools", "inspect", name).stdout


@pytest.mark.row("F-178")
@pytest.mark.row("F-176")
def test_directories_of_one_name_are_not_taken_for_each_other(buildx: Buildx) -> None:
    """Clients name a directory by its last part: its Dockerfile may have the same size and time as another's."""
    said = []
    for place, word in (("one", "first"), ("two", "other")):
        context = buildx.directory / place / "app"
        context.mkdir(parents=True)
        for name, text in (("Dockerfile", f"FROM scratch\nLABEL word={word}\nCOPY {word} /f\n"), (word, word)):
            (context / name).write_text(text)
            os.utime(context / name, (1_500_000_000, 1_500_000_000))
        buildx.ok("buildx", "build", "-t", place, str(context))
        said.append(buildx.ok("image", "inspect", "-f", "{{.Config.Labels.word}}", place).stdout)
    assert said == ["first\n", "other\n"]
