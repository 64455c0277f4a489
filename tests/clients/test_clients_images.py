"""docker's image commands against onggid, as its users type them; a registry of our own beside it."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from tests.clients.daemon import DOCKER, Daemon, running
from tests.clients.test_clients_ship import serve

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from running(tmp_path_factory)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("registry"))


@pytest.fixture(autouse=True)
def only_busybox(daemon: Daemon) -> Iterator[None]:
    yield
    for name in daemon.say("images", "-a", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines():
        image, _, identifier = name.partition(" ")
        if image != "busybox:latest":
            daemon.docker("rmi", "-f", image if "<none>" not in image else identifier)


def commit(daemon: Daemon, name: str, command: str = "true", *words: str) -> str:
    """An image with a layer more than busybox; its id."""
    container = daemon.say("run", "-d", "busybox", "sh", "-c", command)
    daemon.say("wait", container)
    identifier = daemon.say("commit", *words, container, *([name] if name else []))
    daemon.say("rm", container)
    return identifier


@pytest.mark.row("I-132", "I-155", "I-144")
def test_images_has_dockers_columns_filters_and_formats(daemon: Daemon) -> None:
    first = commit(daemon, "list/one:1", "echo 1 > /one", "-c", "LABEL team=jars")
    second = commit(daemon, "list/one:2", "echo 2 > /two")
    nameless = commit(daemon, "", "echo 3 > /three")
    header, *lines = daemon.say("images").splitlines()
    assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert [line.split()[:2] for line in lines if "<none>" in line] == [["<none>", "<none>"]]
    assert "DIGEST" in daemon.say("images", "--digests").splitlines()[0]

    def names(*words: str) -> set[str]:
        return set(daemon.say("images", "--format", "{{.Repository}}:{{.Tag}}", *words).splitlines())

    assert names("list/one") == {"list/one:1", "list/one:2"}
    assert names("list/one:2") == {"list/one:2"}
    assert names("-f", "label=team") == names("-f", "label=team=jars") == {"list/one:1"}
    assert names("-f", "reference=list/*:1") == {"list/one:1"}
    assert names("-f", "dangling=true") == {"<none>:<none>"}
    assert names("-f", "before=list/one:2", "-f", "reference=list/*") == {"list/one:1"}
    assert names("-f", "since=list/one:1", "-f", "reference=list/*") == {"list/one:2"}
    assert names("-f", "until=1s") <= {"busybox:latest", "list/one:1", "list/one:2", "<none>:<none>"}
    assert set(daemon.say("images", "-q", "--no-trunc").splitlines()) >= {first, second, nameless}
    assert first[7:19] in daemon.say("images", "-q").splitlines()
    row = json.loads(daemon.say("images", "--format", "json", "list/one:1"))
    assert {"ID", "Repository", "Tag", "Digest", "CreatedSince", "CreatedAt", "Size"} <= set(row)


@pytest.mark.row("I-006", "I-134", "I-158")
def test_an_image_is_inspected_by_name_digest_id_or_the_beginning_of_it(daemon: Daemon) -> None:
    identifier = commit(daemon, "look:1", "true", "-c", 'CMD ["a"]', "-a", "anna", "-m", "said")
    for name in ("look:1", identifier, identifier[7:], identifier[7:19], identifier[:20]):
        (found,) = json.loads(daemon.say("image", "inspect", name))
        assert found["Id"] == identifier
    assert found["RepoTags"] == ["look:1"]
    assert (found["Os"], found["Author"], found["Comment"], found["Config"]["Cmd"]) == ("linux", "anna", "said", ["a"])
    assert len(found["RootFS"]["Layers"]) == 2
    assert found["Metadata"]["LastTagTime"]
    assert {"Architecture", "Created", "Size", "GraphDriver"} <= set(found)
    assert (
        daemon.say("inspect", "-f", "{{.Os}}/{{.Architecture}} {{json .Config.Cmd}}", "look:1") == 'linux/amd64 ["a"]'
    )
    done = daemon.docker("image", "inspect", "nothing:1")
    assert (done.returncode, done.stdout.strip()) == (1, "[]")
    assert "No such image: nothing:1" in done.stderr


@pytest.mark.row("I-136", "I-158")
def test_history_tells_of_each_layer_with_missing_parents(daemon: Daemon) -> None:
    commit(daemon, "past:1", "echo x > /x", "-m", "a change")
    header, *lines = daemon.say("history", "past:1").splitlines()
    assert header.split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert lines[0].endswith("a change")
    assert daemon.say("history", "-q", "past:1").splitlines()[-1] == "<missing>" or len(lines) == 2
    assert daemon.say("history", "--no-trunc", "--format", "{{.ID}}", "past:1").splitlines()[0].startswith("sha256:")
    assert daemon.say("history", "-H=false", "--format", "{{.Size}}", "past:1").splitlines()[0].isdigit()


@pytest.mark.row("I-057", "I-163")
def test_a_commit_takes_changes_author_and_message_and_leaves_mounts_out(daemon: Daemon) -> None:
    container = daemon.say(
        "run", "-d", "-v", "/kept", "busybox", "sh", "-c", "echo in > /kept/f; echo out > /f; sleep 60"
    )
    daemon.say("exec", container, "sh", "-c", "until [ -f /f ]; do sleep 0.05; done")
    changes = (
        'ENV A="b c" B=$PATH',
        "EXPOSE 80",
        "WORKDIR /w",
        "USER 7",
        'ENTRYPOINT ["/bin/echo"]',
        "LABEL k=v",
        "VOLUME /data",
        "STOPSIGNAL SIGINT",
    )
    words = [word for change in changes for word in ("-c", change)]
    daemon.say("commit", *words, "-a", "anna", "-m", "said", container, "made:1")
    daemon.say("rm", "-f", "-v", container)
    (found,) = json.loads(daemon.say("image", "inspect", "made:1"))
    config = found["Config"]
    assert config["Env"] == ["PATH=/bin:/usr/bin", "A=b c", "B=/bin:/usr/bin"]
    assert (config["ExposedPorts"], config["WorkingDir"], config["User"], config["Entrypoint"]) == (
        {"80/tcp": {}},
        "/w",
        "7",
        ["/bin/echo"],
    )
    assert (config["Labels"], config["StopSignal"], set(config["Volumes"])) == (
        {"k": "v"},
        "SIGINT",
        {"/kept", "/data"},
    )
    assert daemon.say("run", "--rm", "--entrypoint", "cat", "made:1", "/f") == "out"
    assert daemon.docker("run", "--rm", "--entrypoint", "cat", "made:1", "/kept/f").returncode == 1


@pytest.mark.row("I-137", "I-157", "I-159")
def test_names_come_and_go_and_the_image_with_the_last_of_them(daemon: Daemon) -> None:
    identifier = commit(daemon, "names:1", "echo 1 > /n")
    daemon.say("tag", "names:1", "names:2")
    daemon.say("tag", identifier[7:19], "other/name")
    assert daemon.say("rmi", "names:1") == "Untagged: names:1"
    done = daemon.docker("rmi", identifier[7:19])
    assert (done.returncode, "must be forced" in done.stderr) == (1, True)
    container = daemon.say("create", "names:2")
    done = daemon.docker("rmi", "-f", "names:2", "other/name")
    assert done.stdout.splitlines()[0] == "Untagged: names:2"
    daemon.say("rm", container)
    daemon.docker("rmi", "-f", identifier)
    done = daemon.docker("rmi", "names:2")
    assert "No such image: names:2" in done.stderr
    assert daemon.docker("rmi", "-f", "names:2").returncode == 0  # forced, nothing is an answer too


@pytest.mark.row("I-138", "I-157")
def test_a_prune_takes_what_has_no_name_or_with_a_what_nobody_uses(daemon: Daemon) -> None:
    nameless = commit(daemon, "", "echo p > /p")
    commit(daemon, "unused:1", "echo u > /u", "-c", "LABEL keep=no")
    commit(daemon, "unused:2", "echo v > /v", "-c", "LABEL keep=yes")
    said = daemon.say("image", "prune", "-f")
    assert f"deleted: {nameless}" in said
    assert "Total reclaimed space:" in said
    container = daemon.say("create", "busybox")
    said = daemon.say("image", "prune", "-a", "-f", "--filter", "label!=keep=yes")
    daemon.say("rm", container)
    assert "untagged: unused:1" in said
    assert "unused:2" not in said
    assert "unused:2" in daemon.say("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert "Images" in daemon.say("system", "df")
    assert "SHARED SIZE" in daemon.say("system", "df", "-v")


@pytest.mark.row("I-140", "I-156")
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress, lzma.compress])
def test_archives_are_loaded_however_they_are_packed(
    daemon: Daemon, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    commit(daemon, "packed:1", "echo p > /packed")
    commit(daemon, "packed:2", "echo q > /packed")
    saved = subprocess.run(
        [DOCKER, "-H", daemon.host, "save", "packed:1", "packed:2"], capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        names = archive.getnames()
    assert {"manifest.json", "index.json", "oci-layout", "repositories"} <= set(names)
    daemon.say("rmi", "packed:1", "packed:2")
    (tmp_path / "archive").write_bytes(pack(saved))
    assert daemon.say("load", "-i", str(tmp_path / "archive")).splitlines() == [
        "Loaded image: packed:1",
        "Loaded image: packed:2",
    ]
    assert daemon.say("run", "--rm", "packed:1", "cat", "/packed") == "p"
    assert daemon.say("load", "-q", "-i", str(tmp_path / "archive")).splitlines()[0] == "Loaded image: packed:1"


@pytest.mark.row("I-140")
def test_a_pure_oci_layout_is_loaded_and_what_has_no_name_by_its_id(daemon: Daemon, tmp_path: Path) -> None:
    identifier = commit(daemon, "layout:1", "echo l > /l")
    saved = subprocess.run([DOCKER, "-H", daemon.host, "save", "layout:1"], capture_output=True, check=True).stdout
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive, tarfile.open(fileobj=out, mode="w") as layout:
        for member in archive:
            if member.name in ("manifest.json", "repositories"):
                continue
            data = archive.extractfile(member).read() if member.isreg() else b""
            if member.name == "index.json":
                index = json.loads(data)
                for entry in index["manifests"]:
                    entry.pop("annotations", None)
                data = json.dumps(index).encode()
                member.size = len(data)
            layout.addfile(member, io.BytesIO(data))
    daemon.say("rmi", "layout:1")
    (tmp_path / "layout.tar").write_bytes(out.getvalue())
    assert daemon.say("load", "-i", str(tmp_path / "layout.tar")) == f"Loaded image ID: {identifier}"


@pytest.mark.row("I-141", "I-156")
def test_a_file_system_goes_out_and_comes_in_with_changes(daemon: Daemon, tmp_path: Path) -> None:
    container = daemon.say("create", "busybox", "true")
    daemon.say("export", "-o", str(tmp_path / "fs.tar"), container)
    daemon.say("rm", container)
    identifier = daemon.say(
        "import",
        "-c",
        "ENV PATH=/bin",
        "-c",
        'CMD ["cat", "/data/seed"]',
        "-m",
        "from a file",
        str(tmp_path / "fs.tar"),
        "in:1",
    )
    assert identifier.startswith("sha256:")
    assert daemon.say("run", "--rm", "in:1") == "from the image"
    (found,) = json.loads(daemon.say("image", "inspect", "in:1"))
    assert found["Comment"] == "from a file"
    arm = daemon.say("import", "--platform", "linux/arm64", str(tmp_path / "fs.tar"), "in:arm")
    assert daemon.say("image", "inspect", "-f", "{{.Architecture}}", arm) == "arm64"
    done = subprocess.run(
        [DOCKER, "-H", daemon.host, "import", "-", "in:2"],
        input=(tmp_path / "fs.tar").read_bytes(),
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith(b"sha256:")


@pytest.mark.row("I-153", "I-154", "I-106", "I-087")
def test_all_tags_of_a_repository_go_and_come(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/all/tags"
    for number in (1, 2):
        commit(daemon, f"{name}:{number}", f"echo {number} > /n")
    said = daemon.say("push", "-a", name).splitlines()
    assert [line.partition(":")[0] for line in said if ": digest: sha256:" in line] == ["1", "2"]
    daemon.say("rmi", f"{name}:1", f"{name}:2")
    said = daemon.say("pull", "-a", name)
    assert f"Status: Downloaded newer image for {name}" in said
    assert {"1: Pulling from all/tags", "2: Pulling from all/tags"} <= set(said.splitlines())
    assert daemon.say("run", "--rm", f"{name}:2", "cat", "/n") == "2"
    assert daemon.say("pull", "-q", f"{name}:1") == f"{name}:1"
    assert daemon.say("push", "-q", f"{name}:1") == f"{name}:1"
    done = daemon.docker("pull", "--platform", "linux/arm64", f"{name}:1")
    assert done.returncode == 0 or "linux/arm64" in done.stderr
    assert "1: digest: sha256:" in daemon.say("push", "--platform", "linux/amd64", f"{name}:1")
    done = daemon.docker("push", "--platform", "linux/arm64", f"{name}:1")
    assert (done.returncode, "does not match the specified platform (linux/arm64)" in done.stderr) == (1, True)
    done = daemon.docker("pull", "-a", f"{name}:1")
    assert (done.returncode, done.stderr.strip()) == (1, "tag can't be used with --all-tags/-a")


@pytest.mark.row("I-088", "I-153")
def test_a_run_pulls_what_is_missing_always_or_never(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/pull/policy:1"
    commit(daemon, name, "echo first > /v")
    daemon.say("push", name)
    daemon.say("rmi", name)
    done = daemon.docker("run", "--rm", "--pull", "never", name, "cat", "/v")
    assert (done.returncode, f"No such image: {name}" in done.stderr) == (125, True)
    done = daemon.docker("run", "--rm", name, "cat", "/v")
    assert done.stdout == "first\n"
    assert f"Unable to find image '{name}' locally" in done.stderr
    done = daemon.docker("run", "--rm", name, "cat", "/v")
    assert (done.stdout, done.stderr) == ("first\n", "")
    commit(daemon, "newer:1", "echo second > /v")
    daemon.say("tag", "newer:1", f"{registry}/pull/policy:2")
    old = daemon.say("image", "inspect", "-f", "{{.Id}}", name)
    daemon.say("tag", "newer:1", name)
    daemon.say("push", name)
    daemon.say("tag", old, name)
    assert daemon.say("run", "--rm", name, "cat", "/v") == "first"
    assert daemon.say("run", "--rm", "--pull", "always", "-q", name, "cat", "/v") == "second"


@pytest.mark.row("I-147")
def test_what_happens_to_images_is_told(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    since = daemon.say("info", "-f", "{{.SystemTime}}")
    name = f"{registry}/told:1"
    commit(daemon, name, "echo t > /t", "-c", "LABEL team=jars")
    daemon.say("push", name)
    daemon.say("save", "-o", str(tmp_path / "a.tar"), name)
    daemon.say("tag", name, "told:2")
    daemon.say("rmi", name)
    daemon.say("pull", name)
    daemon.say("rmi", name, "told:2")
    daemon.say("load", "-i", str(tmp_path / "a.tar"))
    until = daemon.say("info", "-f", "{{.SystemTime}}")
    lines = daemon.say(
        "events", "--since", since, "--until", until, "-f", "type=image", "--format", "{{json .}}"
    ).splitlines()
    told = [json.loads(line) for line in lines]
    actions = [event["Action"] for event in told]
    for action in ("create", "push", "save", "tag", "untag", "pull", "delete", "load"):
        assert action in actions, actions
    (pulled,) = [event for event in told if event["Action"] == "pull"]
    assert pulled["Actor"]["Attributes"]["name"] == f"{registry}/told"
    assert pulled["Actor"]["Attributes"]["team"] == "jars"


@pytest.mark.row("I-143", "I-160")
def test_a_list_of_manifests_is_made_annotated_and_pushed(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/list/of"
    commit(daemon, f"{name}:amd64", "echo a > /a")
    daemon.say("push", f"{name}:amd64")
    daemon.say("manifest", "create", "--insecure", f"{name}:all", f"{name}:amd64")
    daemon.say("manifest", "annotate", "--os", "linux", "--arch", "amd64", f"{name}:all", f"{name}:amd64")
    assert daemon.say("manifest", "push", "--insecure", "-p", f"{name}:all").startswith("sha256:")
    found = json.loads(daemon.say("manifest", "inspect", "--insecure", f"{name}:all"))
    assert [entry["platform"] for entry in found["manifests"]] == [{"architecture": "amd64", "os": "linux"}]
    daemon.say("rmi", f"{name}:amd64")
    assert daemon.say("run", "--rm", f"{name}:all", "cat", "/a") == "a"
