"""`onggi build`: its progress, secrets, contexts, outputs, checks, explanations, and the shell in a step that failed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.daemon import Daemon, running
from tests.clients.test_clients_buildx_session import copy_program

pytestmark = pytest.mark.root
ONGGI = str(Path(sys.executable).parent / "onggi")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


class Building:
    """`onggi build` in a directory with a context."""

    def __init__(self, daemon: Daemon, place: Path) -> None:
        self._daemon, self.place = daemon, place

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.place / name.replace("_S_", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run(self, *words: str, text: str = "", code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [ONGGI, *words], input=text, capture_output=True, text=True, check=False, timeout=60, cwd=self.place,
            env={**os.environ, "DOCKER_HOST": self._daemon.host, **env},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def build(self, *words: str, text: str = "", code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("build", "--network", "none", *words, text=text, code=code, **env)


@pytest.fixture
def building(daemon: Daemon, tmp_path: Path) -> Building:
    return Building(daemon, tmp_path)


@pytest.mark.row("F-326")
@pytest.mark.row("F-358")
@pytest.mark.row("F-327")
def test_plain_progress_numbers_steps_and_tells_warnings_at_the_end(building: Building) -> None:
    building.write(Dockerfile="FROM busybox\nRUN echo heard\nCMD shell\n")
    said = building.build("-t", "plain", ".").stderr
    assert "[2/2] RUN echo heard\n" in said
    assert " heard\n" in said
    assert "1 warning found:" in said
    assert "JSONArgsRecommended" in said
    again = building.build("-t", "plain", "--progress=plain", ".").stderr
    assert again.count("CACHED") == 2
    events = [json.loads(line) for line in building.build("--progress=rawjson", ".").stderr.splitlines()]
    assert any(vertex["name"].startswith("[2/2]") for event in events for vertex in event.get("vertexes", ()))
    quiet = building.build("-q", ".")
    assert quiet.stdout.startswith("sha256:")
    assert quiet.stderr == ""
    drawn = building.build("--progress=tty", "--no-cache", ".").stderr
    assert "[+] Building " in drawn
    assert " => [2/2] RUN echo heard" in drawn


@pytest.mark.row("F-220")
@pytest.mark.row("F-363")
@pytest.mark.row("F-064")
def test_secrets_come_from_files_and_variables_and_are_seen_nowhere(building: Building) -> None:
    big = "x" * 100_000
    building.write(
        Dockerfile="FROM busybox\nRUN --mount=type=secret,id=one --mount=type=secret,id=BIG,env=BIG cat /run/secrets/one | wc -c && echo ${#BIG}\n",
        token="very-secret-token",
    )
    done = building.build("-t", "secretive", "--secret", "id=one,src=token", "--secret", "id=BIG", ".", BIG=big)
    assert " 17\n" in done.stderr
    assert " 100000\n" in done.stderr
    for words in (["history", "--no-trunc", "secretive"], ["inspect", "secretive"]):
        assert "very-secret" not in building.run(*words).stdout
    saved = building.place / "saved.tar"
    building.run("save", "-o", str(saved), "secretive")
    assert b"very-secret" not in saved.read_bytes()
    building.build("--secret", "src=token", ".", code=1)


@pytest.mark.row("F-175")
@pytest.mark.row("F-343")
@pytest.mark.row("F-366")
@pytest.mark.row("F-019")
def test_contexts_targets_and_names_of_the_dockerfile(building: Building) -> None:
    building.write(
        Containerfile="FROM busybox AS one\nCOPY --from=more f /f\nFROM busybox AS two\nRUN exit 1\n",
        more_S_f="from more", more_S_g="g",
    )  # fmt: skip
    building.write(**{"more_S_.dockerignore": "g\n"})
    building.build("-t", "named", "--target", "one", "--build-context", "more=more", ".")
    assert building.run("run", "--rm", "named", "cat", "/f").stdout == "from more"
    building.build("--build-context", "more=nowhere", ".", code=1)


@pytest.mark.row("F-182")
@pytest.mark.row("F-183")
@pytest.mark.row("F-184")
@pytest.mark.row("F-185")
@pytest.mark.row("F-352")
def test_outputs_are_directories_and_archives(building: Building) -> None:
    building.write(Dockerfile="FROM scratch\nCOPY f /d/f\n", f="content")
    before = building.run("images", "-aq").stdout
    building.build("-o", "out", ".")
    assert (building.place / "out" / "d" / "f").read_text() == "content"
    building.build("-o", "type=tar,dest=files.tar", ".")
    with tarfile.open(building.place / "files.tar") as archive:
        assert "d/f" in archive.getnames()
    building.build("-o", "type=docker,dest=image.tar", ".")
    with tarfile.open(building.place / "image.tar") as archive:
        assert "manifest.json" in archive.getnames()
    assert building.run("images", "-aq").stdout == before
    building.build("-o", "type=nonsense", ".", code=1)


@pytest.mark.row("F-171")
def test_explain_says_which_file_or_argument_has_changed(building: Building) -> None:
    dockerfile = "FROM busybox\nARG VERSION=1\nRUN echo $VERSION > /v\nCOPY d /d\n"
    building.write(Dockerfile=dockerfile, d_S_f="1", d_S_g="2")
    words = ["-t", "explained", "--explain"]
    assert "not cached: it has not been made here before" in building.build(*words, ".").stderr
    assert "not cached" not in building.build(*words, ".").stderr
    building.write(d_S_f="other", d_S_h="new")
    said = building.build(*words, ".").stderr
    assert "not cached: changed: f, added: h\n" in said
    said = building.build(*words, "--build-arg", "VERSION=2", ".").stderr
    assert "not cached: variable VERSION changed\n" in said
    assert "not cached: files of the steps before changed\n" in said
    assert "no cache was asked for" in building.build(*words, "--no-cache", ".").stderr


@pytest.mark.row("F-325")
@pytest.mark.row("F-014")
@pytest.mark.row("F-074")
def test_a_failed_step_shows_its_place_and_opens_a_shell(building: Building) -> None:
    building.write(Dockerfile="FROM busybox\nENV A=1\nWORKDIR /w\nRUN echo half > done; echo why; exit 3\n# after\n")
    done = building.build(".", code=1)
    assert "   4 | >>> RUN echo half" in done.stderr
    assert "\nwhy\n------\n" in done.stderr
    assert "exit code: 3" in done.stderr
    before = building.run("images", "-aq").stdout
    looked = building.build("--shell-on-error", ".", code=1, text="cat done; pwd; echo A is $A\n")
    assert looked.stdout == "half\n/w\nA is 1\n"
    assert building.run("images", "-aq").stdout == before


@pytest.mark.row("F-346")
@pytest.mark.row("F-152")
def test_check_reads_the_dockerfile_and_builds_nothing(building: Building) -> None:
    building.write(Dockerfile="FROM busybox AS Upper\nRUN exit 1\n")
    said = building.build("--check", ".").stdout
    assert "1 warning has been found!" in said
    assert "WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/" in said
    assert "   1 | >>> FROM busybox AS Upper" in said
    building.write(Dockerfile="FROM busybox\nNOPE\n")
    assert "unknown instruction: NOPE" in building.build("--check", ".", code=1).stdout
    building.write(Dockerfile="ARG V=1\nFROM busybox AS one\nARG V\nFROM one\n")
    assert "one" in building.build("--call=targets", ".").stdout
    assert "V" in building.build("--call=outline", "--target=one", ".").stdout


@pytest.mark.row("F-221", "F-363", "F-066", "S-51")
def test_an_ssh_agent_answers_in_a_step_and_gives_no_key_away(building: Building, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "onggi-test", "-f", str(key)], check=True)
    building.write(
        Dockerfile="FROM busybox\nCOPY root /\nCOPY key.pub /\nRUN --mount=type=ssh,id=mine ssh-add -l && ssh-add -L && ! ssh-add -D\n"
    )
    copy_program(tmp_path / "root", shutil.which("ssh-add") or "")
    (tmp_path / ".dockerignore").write_text("key\n")
    # An agent of its own for keys.
    said = building.build("--ssh", f"mine={key}", "-t", "agented", ".").stderr
    assert said.count("onggi-test (ED25519)") == 1
    assert key.with_suffix(".pub").read_text().split()[1] in said
    # The user's own agent, whose keys are still there when a step wanted them gone.
    words = re.findall(
        r"(SSH_\w+)=([^;]+);", subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    )
    env = dict(words)
    try:
        subprocess.run(["ssh-add", "-q", str(key)], check=True, env={**os.environ, **env}, stderr=subprocess.DEVNULL)
        assert (
            "onggi-test (ED25519)"
            in building.build("--no-cache", "--ssh", f"mine={env['SSH_AUTH_SOCK']}", ".", **env).stderr
        )
        building.write(Dockerfile="FROM busybox\nCOPY root /\nRUN --mount=type=ssh,required=true ssh-add -l\n")
        assert "onggi-test (ED25519)" in building.build("--ssh", "default", ".", **env).stderr
        listed = subprocess.run(
            ["ssh-add", "-l"], check=True, capture_output=True, text=True, env={**os.environ, **env}
        ).stdout
        assert "onggi-test" in listed
    finally:
        subprocess.run(["kill", env["SSH_AGENT_PID"]], check=True)
    assert "unset ssh forward key default" in building.build("--no-cache", ".", code=1).stderr
    assert "make sure SSH_AUTH_SOCK is set" in building.build("--ssh", "default", ".", code=1, SSH_AUTH_SOCK="").stderr
    # Nobody's private key is in what was made.
    building.run("save", "-o", str(tmp_path / "saved.tar"), "agented")
    assert key.read_bytes().splitlines()[1] not in (tmp_path / "saved.tar").read_bytes()
