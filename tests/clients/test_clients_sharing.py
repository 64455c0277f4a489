"""docker's client and onggi on one configuration: contexts, credentials and engines that the other has set up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.clients.daemon import DOCKER, Daemon, running
from tests.clients.test_clients_ship import serve

pytestmark = pytest.mark.root
ONGGI = str(Path(sys.executable).parent / "onggi")
BOTH = pytest.mark.parametrize(("one", "other"), [(DOCKER, ONGGI), (ONGGI, DOCKER)], ids=["docker", "onggi"])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("locked")
    (root / "users").write_text("anna:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode())
    yield from serve(root / "data", "--htpasswd", str(root / "users"))


class Shell:
    """Runs programs in one configuration of their own, without DOCKER_HOST."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "DOCKER_CONFIG": str(folder / "docker")}

    def __call__(self, *words: str, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, input=text, capture_output=True, text=True, check=False, timeout=30, env=self.environment | more, cwd=self.folder
        )  # fmt: skip

    def say(self, *words: str, text: str = "", **more: str) -> str:
        done = self(*words, text=text, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.row("CL-041", "CL-042", "CL-043", "CL-044", "CL-049", "CL-152")
@BOTH
def test_a_context_of_one_is_used_exported_and_removed_by_the_other(
    daemon: Daemon, shell: Shell, one: str, other: str
) -> None:
    shell.say(one, "context", "create", "here", "--docker", f"host={daemon.host}")
    shell.say(one, "context", "use", "here")
    assert shell.say(other, "context", "show") == "here"
    assert shell.say(other, "ps", "--format", "{{.Names}}") == shell.say(one, "ps", "--format", "{{.Names}}") == ""
    assert shell.say(other, "context", "inspect", "here") == shell.say(one, "context", "inspect", "here")
    shell.say(one, "context", "export", "here")
    shell.say(other, "context", "import", "there", "here.dockercontext")
    assert shell.say(one, "--context", "there", "version", "--format", "{{.Server.Os}}") == "linux"
    listed = [shell.say(program, "context", "ls", "--format", "json").splitlines()[1:] for program in (one, other)]
    assert listed[0] == listed[1]
    shell.say(other, "context", "rm", "-f", "here", "there")
    assert shell.say(one, "context", "ls", "-q") == "default"


@pytest.mark.row("CL-058", "CL-059", "CL-064", "CL-065", "CL-149")
@BOTH
def test_who_logs_in_with_one_pushes_and_pulls_with_the_other(
    daemon: Daemon, registry: str, shell: Shell, one: str, other: str
) -> None:
    host = {"DOCKER_HOST": daemon.host}
    refused = shell(one, "login", registry, "-u", "anna", "--password-stdin", text="wrong\n", **host)
    assert refused.returncode == 1
    assert "unauthorized" in refused.stderr
    assert (
        shell.say(one, "login", registry, "-u", "anna", "--password-stdin", text="secret\n", **host)
        == "Login Succeeded"
    )
    assert shell.say(other, "login", registry, **host).endswith("Login Succeeded")
    name = f"{registry}/shared:1"
    shell.say(other, "tag", "busybox", name, **host)
    pushed = [shell.say(program, "push", name, **host) for program in (one, other)]
    assert (
        pushed[0].splitlines()[0] == pushed[1].splitlines()[0] == f"The push refers to repository [{registry}/shared]"
    )
    assert pushed[0].splitlines()[-1] == pushed[1].splitlines()[-1]
    pulled = []
    for program in (one, other):
        shell.say(other, "rmi", name, **host)
        pulled.append(shell.say(program, "pull", name, **host))
    assert pulled[0] == pulled[1]
    shell.say(other, "rmi", name, **host)
    quiet = shell(one, "run", "--rm", "--quiet", name, "true", **host)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    shell.say(other, "rmi", name, **host)
    assert shell.say(other, "logout", registry, **host) == f"Removing login credentials for {registry}"
    assert json.loads((shell.folder / "docker" / "config.json").read_text()) == {"auths": {}}
    assert shell(one, "pull", name, **host).returncode == 1


_SSH = """#!/bin/sh
# the far side is this machine
echo "$@" >> {folder}/asked
while [ "$1" != -- ]; do shift; done
PATH={folder}/far:$PATH DOCKER_HOST={host} exec sh -c "$3"
"""


@pytest.mark.row("CL-133", "CL-147")
@pytest.mark.parametrize("far", ["docker", "onggi"])
def test_an_engine_behind_ssh_is_reached_whichever_program_is_there(daemon: Daemon, shell: Shell, far: str) -> None:
    (shell.folder / "far").mkdir()
    (shell.folder / "far" / far).symlink_to(ONGGI)
    program = shell.folder / "ssh"
    # Without docker on the far side's PATH onggi is asked.
    text = _SSH.format(folder=shell.folder, host=daemon.host)
    program.write_text(
        text if far == "docker" else text.replace(":$PATH", ":/bin:/usr/bin").replace("exec sh", "exec /bin/sh")
    )
    program.chmod(0o755)
    path = {"PATH": f"{shell.folder}:{os.environ['PATH']}"}
    assert (
        shell.say(ONGGI, "-H", "ssh://me@far.example:2222", "version", "--format", "{{.Server.Os}}", **path) == "linux"
    )
    assert shell.say(ONGGI, "-H", "ssh://far.example", "run", "--rm", "-i", "--network", "none", "busybox", "wc", "-c", text="x" * 100_000, **path) == "100000"  # fmt: skip
    assert "-l me -p 2222 -- far.example" in (shell.folder / "asked").read_text()


@pytest.mark.row("CL-133")
def test_dockers_client_reaches_an_engine_through_our_dial_stdio(daemon: Daemon, shell: Shell) -> None:
    (shell.folder / "far").mkdir()
    (shell.folder / "far" / "docker").symlink_to(ONGGI)
    program = shell.folder / "ssh"
    program.write_text(
        _SSH.format(folder=shell.folder, host=daemon.host).replace('sh -c "$3"', 'sh -c "$(shift; shift; echo "$@")"')
    )
    program.chmod(0o755)
    path = {"PATH": f"{shell.folder}:{os.environ['PATH']}"}
    assert shell.say(DOCKER, "-H", "ssh://far.example", "version", "--format", "{{.Server.Os}}", **path) == "linux"


@pytest.mark.row("CL-148", "CL-149", "CL-150")
def test_the_configurations_formats_keys_and_proxies_count(daemon: Daemon, shell: Shell) -> None:
    settings = {
        "psFormat": "{{.Names}} of mine", "imagesFormat": "{{.Repository}}", "networksFormat": "{{.Name}}", "volumesFormat": "{{.Name}}",
        "proxies": {"default": {"httpProxy": "http://proxy:1"}}, "pruneFilters": ["label=gone"],
    }  # fmt: skip
    (shell.folder / "docker").mkdir()
    (shell.folder / "docker" / "config.json").write_text(json.dumps(settings))
    host = {"DOCKER_HOST": daemon.host}
    shell.say(ONGGI, "create", "--name", "kept", "-v", "named:/x", "-e", "http_proxy=own", "busybox", **host)
    for words in (
        ["ps", "-a"],
        ["images"],
        ["network", "ls"],
        ["volume", "ls"],
        ["inspect", "-f", "{{.Config.Env}}", "kept"],
    ):
        assert shell.say(ONGGI, *words, **host) == shell.say(DOCKER, *words, **host)
    assert shell.say(ONGGI, "ps", "-a", **host) == "kept of mine"
    assert "HTTP_PROXY=http://proxy:1" in shell.say(ONGGI, "inspect", "-f", "{{.Config.Env}}", "kept", **host)
    assert shell.say(ONGGI, "container", "prune", "-f", **host) == "Total reclaimed space: 0B"
    daemon.clear()


@pytest.mark.row("CL-148")
def test_the_version_of_the_api_can_be_chosen(daemon: Daemon, shell: Shell) -> None:
    more = {"DOCKER_HOST": daemon.host, "DOCKER_API_VERSION": "1.43"}
    assert shell.say(ONGGI, "version", "--format", "{{.Client.APIVersion}}", **more) == "1.43"
    refused = shell(ONGGI, "ps", **more | {"DOCKER_API_VERSION": "1.5"})
    assert (refused.returncode, "too old" in refused.stderr) == (1, True)


@pytest.mark.row("CL-157")
@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("1.42", "run --rm --annotation a=b busybox true"),
        ("1.48", "image inspect --platform linux/amd64 busybox"),
        ("1.41", "volume create --type mount --group g v"),
        ("1.46", "images --tree"),
    ],
)
def test_a_flag_newer_than_the_api_is_refused_as_docker_refuses_it(
    daemon: Daemon, shell: Shell, version: str, line: str
) -> None:
    more = {"DOCKER_HOST": daemon.host, "DOCKER_API_VERSION": version}
    theirs, ours = (shell(program, *line.split(), **more) for program in (DOCKER, ONGGI))
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert "requires API version" in ours.stderr


@pytest.mark.row("CL-168")
def test_inspect_is_four_spaces_deep_in_the_engines_order_and_escapes_nothing(daemon: Daemon, shell: Shell) -> None:
    host = {"DOCKER_HOST": daemon.host}
    shell.say(ONGGI, "create", "--name", "shown", "-l", "angle=<a> & ü", "busybox", **host)
    theirs, ours = (shell(program, "inspect", "shown", **host).stdout for program in (DOCKER, ONGGI))
    assert ours == theirs
    assert '\n                "angle": "<a> & ü"\n' in ours
    daemon.clear()


@pytest.mark.row("CL-172")
def test_an_image_that_isnt_here_is_pulled_and_told_of_on_stderr(daemon: Daemon, shell: Shell, registry: str) -> None:
    host = {"DOCKER_HOST": daemon.host}
    shell.say(ONGGI, "login", registry, "-u", "anna", "--password-stdin", text="secret\n", **host)
    name = f"{registry}/pulled"
    shell.say(ONGGI, "tag", "busybox", name, **host)
    shell.say(ONGGI, "push", name, **host)
    said = []
    for program in (DOCKER, ONGGI):
        shell.say(ONGGI, "rmi", name, **host)
        said.append(shell(program, "run", "--rm", name, "echo", "hi", **host))
    assert said[0].stdout == said[1].stdout == "hi\n"
    assert said[1].stderr == said[0].stderr
    assert said[1].stderr.startswith(f"Unable to find image '{name}:latest' locally\n")
    shell.say(ONGGI, "rmi", name, **host)


@pytest.mark.row("CL-066", "CL-067", "CL-068", "CL-069", "CL-070", "CL-071")
@BOTH
def test_a_manifest_list_is_made_by_one_and_goes_on_with_the_other(
    daemon: Daemon, registry: str, shell: Shell, one: str, other: str
) -> None:
    host = {"DOCKER_HOST": daemon.host}
    shell.say(ONGGI, "login", registry, "-u", "anna", "--password-stdin", text="secret\n", **host)
    images = [f"{registry}/part:{name}" for name in ("a", "b")]
    for at, image in enumerate(images):
        made = shell.say(ONGGI, "create", "busybox", **host)
        shell.say(ONGGI, "commit", "-c", f"LABEL part={at}", made, image, **host)
        shell.say(ONGGI, "rm", made, **host)
        shell.say(ONGGI, "push", image, **host)
        shell.say(ONGGI, "rmi", image, **host)
    target = f"{registry}/whole:1"
    assert shell.say(one, "manifest", "create", "--insecure", target, *images) == f"Created manifest list {target}"
    refused = shell(other, "manifest", "create", "--insecure", target, *images)
    assert (refused.returncode, refused.stderr) == (
        1,
        "refusing to amend an existing manifest list with no --amend flag\n",
    )
    shell.say(one, "manifest", "annotate", "--arch", "arm64", "--variant", "v8", target, images[1])
    assert shell.say(other, "manifest", "inspect", target) == shell.say(one, "manifest", "inspect", target)
    assert shell.say(one, "manifest", "inspect", target, images[0]) == shell.say(
        other, "manifest", "inspect", target, images[0]
    )
    pushed = shell.say(other, "manifest", "push", "--insecure", "--purge", target).splitlines()
    assert [line.partition(" with ")[0].partition("@")[0] for line in pushed[:-1]] == [
        f"Pushed ref {registry}/whole"
    ] * 2
    assert shell(one, "manifest", "rm", target).stderr == f"No such manifest: {target}\n"
    found = json.loads(shell.say(one, "manifest", "inspect", "--insecure", target))
    assert [entry["platform"]["architecture"] for entry in found["manifests"]] == ["amd64", "arm64"]
    assert shell.say(ONGGI, "manifest", "inspect", "--insecure", target) == shell.say(
        DOCKER, "manifest", "inspect", "--insecure", target
    )
    assert shell.say(ONGGI, "manifest", "inspect", "--insecure", images[0]) == shell.say(
        DOCKER, "manifest", "inspect", "--insecure", images[0]
    )
    assert (
        shell(one, "manifest", "inspect", "--insecure", f"{registry}/none:1").stderr
        == f"no such manifest: {registry}/none:1\n"
    )


@pytest.mark.row("CL-175")
@pytest.mark.parametrize(
    "line",
    [
        "run --pull ''", "run --network ''", "run --restart ''", "run ''", "run --volumes-from ''", "run --userns ''", "stop ''",
        "start ''", "kill ''", "logs ''", "pause ''", "rename ''", "rmi ''", "tag ''", "save ''", "network rm ''", "network connect ''",
        "volume rm ''", "context use ''", "container ''", "network ''", "ps --f", "run --rm --vol", "image inspect ''", "--context ''",
    ],
)  # fmt: skip
def test_a_shells_question_has_dockers_answer(daemon: Daemon, shell: Shell, line: str) -> None:
    host = {"DOCKER_HOST": daemon.host}
    if not daemon.say("ps", "-q", "--filter", "name=completed"):
        daemon.say("run", "-d", "--name", "completed", "busybox", "sleep", "1000")
        daemon.say("volume", "create", "volume")
    import shlex

    theirs, ours = (
        sorted(shell.say(program, "__completeNoDesc", *shlex.split(line), **host).splitlines())
        for program in (DOCKER, ONGGI)
    )
    assert ours == theirs


@pytest.mark.row("CL-175")
def test_dockers_own_completion_script_goes_on_working(shell: Shell) -> None:
    script = shell.say(DOCKER, "completion", "bash")
    ask = '\nwords=(docker container at); cur=at\n__docker_get_completion_results\necho "$out/$directive"\n'
    (shell.folder / "docker").unlink(missing_ok=True)
    (shell.folder / "docker").symlink_to(ONGGI)
    path = {"PATH": f"{shell.folder}:{os.environ['PATH']}", "DOCKER_CONFIG": str(shell.folder / "config")}
    said = shell.say("bash", "-c", script + ask, **path)
    assert said.startswith("attach\tAttach local standard input")
    assert said.endswith("/4")


@pytest.mark.row("CL-056")
def test_a_tree_of_images_has_dockers_columns(daemon: Daemon, shell: Shell) -> None:
    import re

    host = {"DOCKER_HOST": daemon.host}
    theirs, ours = (
        [
            line.split()
            for line in re.sub(r"\x1b\[[0-9;]*m", "", shell.say(program, "images", "--tree", **host)).splitlines()
            if line.strip()
        ]
        for program in (DOCKER, ONGGI)
    )
    legend, heading = ["Info", "->", "U", "In", "Use"], ["IMAGE", "ID", "DISK", "USAGE", "CONTENT", "SIZE", "EXTRA"]
    assert ours[:2] == [legend, heading]
    assert [line for line in theirs if line[0] not in ("Info", "WARNING:", "IMAGE")] == [
        line[:4] for line in ours[2:]
    ]  # the mark of use is colour there
    for flag in ("-q", "--no-trunc", "--digests"):
        theirs_done, ours_done = (shell(program, "images", "--tree", flag, **host) for program in (DOCKER, ONGGI))
        assert (ours_done.returncode, ours_done.stderr) == (theirs_done.returncode, theirs_done.stderr)
