"""`onggi build`'s flags: each is given once, and what it changes is looked at in the image, in a step or in the answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.buildx import PLUGINS
from tests.clients.daemon import Daemon, running
from tests.clients.test_clients_build_post import forget_cgroup
from tests.clients.test_clients_onggi_build import Building

pytestmark = pytest.mark.root
GROUP = f"onggi-flags-{os.getpid()}"
ONGGI = str(Path(sys.executable).parent / "onggi")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)
    forget_cgroup(GROUP)


@pytest.fixture
def building(daemon: Daemon, tmp_path: Path) -> Building:
    return Building(daemon, tmp_path)


GROUPS = "/sys/fs/cgroup"

# Row, flags, the step that looks, what it must say.
SEEN_IN_A_STEP = [
    ("F-338", ["--add-host", "a:1.2.3.4", "--add-host", "b=5.6.7.8"], "cat /etc/hosts", ["1.2.3.4\ta", "5.6.7.8\tb"]),
    ("F-342", ["--build-arg", "A=given", "--build-arg", "B", "--build-arg", "UNSET"], "echo $A-$B-${UNSET-not}", ["given-from-client-not"]),
    ("F-033", ["--build-arg", "B"], "echo [$B]", ["[from-client]"]),
    ("F-354", ["--network", "none"], "ls /sys/class/net", ["lo"]),
    ("F-364", ["--ulimit", "nofile=100:200", "--shm-size", "1m"], "ulimit -n; ulimit -Hn; grep -c '/dev/shm tmpfs .*size=1024k' /proc/mounts", ["100", "200", "1"]),
    ("F-367", ["--memory", "64m", "--cpu-quota", "50000", "--cpuset-cpus", "0", "--compress", "--force-rm", "--rm", "--disable-content-trust"],
     f"cat {GROUPS}/memory/memory.limit_in_bytes {GROUPS}/memory.max 2> /dev/null || true", ["67108864"]),
    ("F-362", ["--resource", "memory=48m,cpu-shares=200", "--resource", "cpuset-cpus=0"],
     f"cat {GROUPS}/memory/memory.limit_in_bytes {GROUPS}/memory.max {GROUPS}/cpuset/cpuset.cpus 2> /dev/null || true", ["50331648", "0"]),
    ("F-339", ["--allow", "security.insecure"], "--security=insecure grep CapEff /proc/self/status", ["ffffff"]),
]  # fmt: skip


@pytest.mark.row("F-338", "F-342", "F-033", "F-354", "F-364", "F-367", "F-362", "F-339", "F-072")
@pytest.mark.parametrize(
    ("flags", "command", "said"), [row[1:] for row in SEEN_IN_A_STEP], ids=[row[0] for row in SEEN_IN_A_STEP]
)
def test_a_flag_is_seen_in_a_step(building: Building, flags: list[str], command: str, said: list[str]) -> None:
    building.write(Dockerfile=f"FROM busybox\nARG A\nARG B\nARG UNSET\nRUN {command}\n")
    heard = building.build(*flags, "--no-cache", ".", B="from-client").stderr
    for word in said:
        assert any(line.endswith(word) or f"{word}" in line.partition(" ")[2] for line in heard.splitlines()), heard


@pytest.mark.row("F-347")
def test_steps_are_below_the_cgroup_that_was_named(building: Building) -> None:
    building.write(Dockerfile="FROM busybox\nRUN cat /proc/self/cgroup\n")
    assert f"/{GROUP}/" in building.build("--cgroup-parent", f"/{GROUP}", ".").stderr


@pytest.mark.row("F-351", "F-365", "F-236", "F-108")
def test_labels_and_names_are_the_images(building: Building) -> None:
    building.write(Dockerfile="FROM busybox\nLABEL a=file b=file\n")
    building.build("--label", "b=flag", "--label", "c=flag", "-t", "one", "--tag", "two:2", ".")
    found = json.loads(building.run("inspect", "two:2").stdout)[0]
    assert found["Config"]["Labels"] == {"a": "file", "b": "flag", "c": "flag"}
    assert sorted(found["RepoTags"]) == ["one:latest", "two:2"]
    building.build("-t", "UPPER", ".", code=1)


@pytest.mark.row("F-349", "F-019")
def test_the_dockerfile_is_where_it_is_said_to_be(building: Building, tmp_path: Path) -> None:
    building.write(sub_S_Named="FROM busybox\nLABEL from=sub\n", c_S_f="f")
    for words, text, label in (
        (["-f", "sub/Named", "c"], "", "sub"),
        (["-f", "-", "c"], "FROM busybox\nLABEL from=stdin\nCOPY f /f\n", "stdin"),
        (["-"], "FROM busybox\nLABEL from=alone\n", "alone"),
        (["--file", str(tmp_path / "sub" / "Named"), "c"], "", "sub"),
    ):
        building.build("-t", "named", *words, text=text)
        assert building.run("inspect", "-f", "{{.Config.Labels.from}}", "named").stdout == f"{label}\n"
    assert "no such file or directory" in building.build("-f", "nowhere", "c", code=1).stderr


@pytest.mark.row("F-355", "F-159")
def test_without_cache_all_or_the_named_stages_are_built_anew(building: Building) -> None:
    building.write(
        Dockerfile="FROM busybox AS one\nRUN echo 1 > /1\nFROM busybox AS two\nCOPY --from=one /1 /1\nRUN echo 2 > /2\n"
    )

    def cached(*words: str) -> int:
        return building.build("--progress=plain", *words, ".").stderr.count("CACHED")

    cached()
    everything = cached()
    assert cached("--no-cache") < cached("--no-cache-filter", "two") < everything
    assert (
        "cannot currently be used together"
        in building.build("--no-cache", "--no-cache-filter", "two", ".", code=1).stderr
    )


@pytest.mark.row("F-360", "F-052")
def test_pull_asks_the_registry_though_the_image_is_here(building: Building) -> None:
    building.write(Dockerfile="FROM 127.0.0.1:9/nobody/here\n")
    building.run("tag", "busybox", "127.0.0.1:9/nobody/here")
    building.build(".")
    assert "127.0.0.1:9" in building.build("--pull", ".", code=1).stderr


@pytest.mark.row("F-350", "F-353", "F-361", "F-196")
def test_what_was_built_is_told_in_files_and_only_then(building: Building, tmp_path: Path) -> None:
    building.write(Dockerfile="FROM busybox\nLABEL told=1\n", d_S_Dockerfile="FROM busybox\nRUN exit 1\n")
    identifier = building.build("-q", "--iidfile", "id", "--metadata-file", "meta", "-t", "told", ".").stdout.strip()
    assert (tmp_path / "id").read_text() == identifier
    meta = json.loads((tmp_path / "meta").read_text())
    assert (meta["containerimage.config.digest"], meta["image.name"]) == (identifier, "told")
    building.build("--iidfile", "none", "d", code=1)
    assert not (tmp_path / "none").exists()


@pytest.mark.row("F-368", "F-214")
def test_the_environment_speaks_where_no_flag_does(building: Building) -> None:
    building.write(Dockerfile="FROM busybox\nRUN echo heard\n")
    event = building.build("--no-cache", ".", BUILDKIT_PROGRESS="rawjson").stderr.splitlines()[0]
    assert json.loads(event)["vertexes"]
    building.build("-t", "dated", ".", SOURCE_DATE_EPOCH="1500000000")
    assert building.run("inspect", "-f", "{{.Created}}", "dated").stdout.startswith("2017-07-14T02:40:00")
    building.build("-t", "platform", ".", DOCKER_DEFAULT_PLATFORM="linux/amd64")


@pytest.mark.row("F-358", "F-326")
def test_a_wrong_kind_of_progress_is_refused(building: Building) -> None:
    building.write(Dockerfile="FROM busybox\n")
    assert building.build("--progress", "fancy", ".", code=1).stderr


@pytest.mark.row("F-006", "F-005", "F-004")
def test_a_frontend_that_is_the_built_in_one_needs_no_registry(building: Building) -> None:
    for first in (
        "# syntax=docker/dockerfile:1",
        "# syntax=docker/dockerfile:1.7-labs",
        "# syntax = docker/dockerfile-upstream:master",
    ):
        building.write(Dockerfile=f"{first}\nFROM busybox\nLABEL a=1\n")
        building.build(".")
    building.write(Dockerfile="# syntax=example.com/other:1\nFROM busybox\n")
    assert "example.com/other:1" in building.build(".", code=1).stderr
    building.build("--build-arg", "BUILDKIT_SYNTAX=dockerfile.v0", ".")


@pytest.mark.row("F-369")
def test_secrets_of_the_environment_are_only_those_that_are_named(building: Building) -> None:
    building.write(Dockerfile="FROM busybox\nRUN --mount=type=secret,id=OTHER test ! -e /run/secrets/OTHER; env\n")
    said = subprocess.run(
        [ONGGI, "build", "--network=none", "--no-cache", "."], capture_output=True, text=True, check=True, cwd=building.place, timeout=60,
        env={**os.environ, "DOCKER_HOST": building._daemon.host, "OTHER": "not-given-away"},
    ).stderr  # fmt: skip
    assert "not-given-away" not in said


@pytest.mark.row("F-344", "F-348", "F-340")
def test_flags_that_only_buildx_has_are_handed_to_it(building: Building, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))
    building.write(Dockerfile="FROM busybox\nLABEL handed=over\n")
    words = ["--builder", "default", "-D", "--annotation", "a=b", "--provenance=false", "-t", "handed", "."]
    building.build(*words, DOCKER_CONFIG=str(tmp_path / "config"))
    assert building.run("inspect", "-f", "{{.Config.Labels.handed}}", "handed").stdout == "over\n"
    assert (
        "unknown flag: --builder"
        in building.build("--builder", "default", ".", code=125, DOCKER_CONFIG=str(tmp_path)).stderr
    )
