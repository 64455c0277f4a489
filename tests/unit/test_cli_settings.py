"""Files and variables of the client: config.json, contexts, credentials, endpoints; all shared with docker's client."""

import base64
import hashlib
import io
import json
import stat
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from onggi.cli import main, plugins
from onggi.cli.configfile import ConfigFile
from onggi.cli.contexts import ContextError, Store, current, endpoint_of
from onggi.cli.credentials import HUB, Credentials, HelperError
from onggi.client import ssh
from onggi.client.endpoint import Endpoint, Tls

VARIABLES = ("DOCKER_HOST", "ONGGI_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_AUTH_CONFIG", "DOCKER_CUSTOM_HEADERS")  # fmt: skip


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "docker"


def call(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main.run("docker", list(words))
    return code, out.getvalue(), err.getvalue()


def write(folder: Path, **settings: object) -> ConfigFile:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    return ConfigFile()


@pytest.mark.row("CL-149")
def test_a_rewrite_keeps_what_it_doesnt_know_the_mode_and_the_link(folder: Path) -> None:
    config = write(folder, credsStore="", features={"x": "1"}, strange={"a": [1]})
    real = folder / "real.json"
    (folder / "config.json").rename(real)
    (folder / "config.json").symlink_to("real.json")
    real.chmod(0o640)
    config.settings["currentContext"] = "other"
    config.save()
    assert (folder / "config.json").is_symlink()
    assert json.loads(real.read_text()) == {"auths": {}, "credsStore": "", "features": {"x": "1"}, "strange": {"a": [1]}, "currentContext": "other"}  # fmt: skip
    assert real.read_text().startswith('{\n\t"auths"')
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "real.json"]


@pytest.mark.row("CL-149")
def test_a_new_file_is_for_its_owner_alone(folder: Path) -> None:
    ConfigFile().save()
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.row("CL-149")
def test_a_broken_file_is_told_of_and_the_command_goes_on(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{")
    code, out, err = call("context", "show")
    assert (code, out) == (0, "default\n")
    assert err.startswith(f"WARNING: Error loading config file: {folder}/config.json: ")


@pytest.mark.row("CL-150")
def test_proxies_are_told_in_both_cases_and_the_engines_own_win(folder: Path) -> None:
    config = write(
        folder,
        proxies={"default": {"httpProxy": "http://p", "noProxy": "a,b"}, "tcp://h:1": {"allProxy": "socks5://q"}},
    )
    assert config.proxies("unix:///x") == {
        "HTTP_PROXY": "http://p",
        "http_proxy": "http://p",
        "NO_PROXY": "a,b",
        "no_proxy": "a,b",
    }
    assert config.proxies("tcp://h:1") == {"ALL_PROXY": "socks5://q", "all_proxy": "socks5://q"}


@pytest.mark.row("CL-148", "CL-149")
def test_headers_come_from_the_file_and_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(folder, HttpHeaders={"X-A": "1", "User-Agent": "no"})
    monkeypatch.setenv("DOCKER_CUSTOM_HEADERS", 'X-B=2,"X-C=3,4"')
    assert config.headers() == {"X-A": "1", "X-B": "2", "X-C": "3,4"}


@pytest.mark.row("CL-146")
@pytest.mark.parametrize(
    ("host", "chosen", "variables", "kept", "wanted"),
    [
        ("unix:///h", "", {"DOCKER_CONTEXT": "v"}, "f", "default"),
        ("", "c", {"DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "v"}, "f", "c"),
        ("", "", {"DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "v"}, "f", "default"),
        ("", "", {"DOCKER_CONTEXT": "v"}, "f", "v"),
        ("", "", {}, "f", "f"),
        ("", "", {}, "", "default"),
    ],
)
def test_which_engine_is_meant_has_one_order(folder: Path, monkeypatch: pytest.MonkeyPatch, host: str, chosen: str, variables: dict[str, str], kept: str, wanted: str) -> None:  # fmt: skip
    config = write(folder, **({"currentContext": kept} if kept else {}))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert current(config, host, chosen) == wanted


@pytest.mark.row("CL-146")
def test_a_host_and_a_context_exclude_each_other(folder: Path) -> None:
    assert call("-H", "unix:///x", "--context", "c", "ps") == (
        1,
        "",
        "conflicting options: cannot specify both --host and --context\n",
    )
    with pytest.raises(ContextError, match="unable to resolve docker endpoint"):
        endpoint_of(Store(str(folder)), "gone", "", None)


@pytest.mark.row("CL-147")
@pytest.mark.parametrize(
    ("text", "tls", "address", "said"),
    [
        ("unix:///run/x.sock", False, "/run/x.sock", "unix:///run/x.sock"),
        ("tcp://host", False, ("host", 2375), "tcp://host:2375"),
        ("tcp://host", True, ("host", 2376), "tcp://host:2376"),
        ("tcp://[::1]:99", False, ("::1", 99), "tcp://[::1]:99"),
        ("host", False, ("host", 2375), "tcp://host:2375"),
        ("http://host:1/path", False, ("host", 1), "http://host:1"),
    ],
)
def test_endpoints_have_dockers_forms_and_ports(text: str, tls: bool, address: object, said: str) -> None:
    endpoint = Endpoint(text, Tls() if tls else None)
    assert (endpoint.address, endpoint.text) == (address, said)


@pytest.mark.row("CL-147")
@pytest.mark.row("D-04", "S-25")
def test_ssh_runs_dial_stdio_on_the_other_side_and_a_host_is_never_an_option() -> None:
    words = ssh.command("ssh://me@box:22/run/user/1/d.sock")
    assert words[:-1] == ["ssh", "-o", "ConnectTimeout=30", "-T", "-l", "me", "-p", "22", "--", "box"]
    assert "docker --host unix:///run/user/1/d.sock system dial-stdio" in words[-1]
    assert "onggi --host unix:///run/user/1/d.sock system dial-stdio" in words[-1]
    assert "docker system dial-stdio" in ssh.command("ssh://box")[-1]


@pytest.mark.row("CL-041", "CL-045", "CL-048", "CL-049", "CL-152")
def test_a_context_lives_as_docker_keeps_it(folder: Path) -> None:
    (folder.parent / "ca").write_text("certificate")
    assert call("context", "create", "far", "--description", "d", "--docker", "host=tcp://h:1,ca=ca") == (0, "far\n", 'Successfully created context "far"\n')  # fmt: skip
    [meta] = (folder / "contexts" / "meta").iterdir()
    assert meta.name == hashlib.sha256(b"far").hexdigest()
    assert json.loads((meta / "meta.json").read_text()) == {
        "Name": "far", "Metadata": {"Description": "d"}, "Endpoints": {"docker": {"Host": "tcp://h:1", "SkipTLSVerify": False}},
    }  # fmt: skip
    assert (folder / "contexts" / "tls" / meta.name / "docker" / "ca.pem").read_text() == "certificate"
    assert call("context", "use", "far")[0] == 0
    assert call("context", "show")[1] == "far\n"
    assert call("context", "update", "far", "--docker", "host=unix:///y")[0] == 0
    assert not (folder / "contexts" / "tls" / meta.name).exists()
    assert (
        call("context", "ls", "--format", "{{.Name}} {{.DockerEndpoint}} {{.Current}}")[1]
        == "default unix:///run/onggi.sock false\nfar unix:///y true\n"
    )
    assert call("context", "rm", "far")[2] == 'context "far" is in use, set -f flag to force remove\n'
    assert call("context", "rm", "-f", "far")[:2] == (0, "far\n")
    assert call("context", "show")[1] == "default\n"


@pytest.mark.row("CL-042", "CL-043", "CL-044", "CL-046")
def test_a_context_is_exported_imported_and_inspected(folder: Path) -> None:
    (folder.parent / "key").write_text("secret")
    call("context", "create", "one", "--docker", "host=tcp://h:1,key=key,skip-tls-verify=true")
    assert call("context", "export", "one") == (0, "", 'Written file "one.dockercontext"\n')
    assert call("context", "export", "one")[0] == 1
    assert call("context", "import", "two", "one.dockercontext")[0] == 0
    shown = json.loads(call("context", "inspect", "two")[1])[0]
    assert (shown["Name"], shown["TLSMaterial"]) == ("two", {"docker": ["key.pem"]})
    assert shown["Endpoints"] == {"docker": {"Host": "tcp://h:1", "SkipTLSVerify": True}}
    endpoint = endpoint_of(Store(str(folder)), "two", "", None)
    assert endpoint.tls is not None
    assert (Path(endpoint.tls.key).read_text(), endpoint.tls.verify) == ("secret", False)
    assert call("context", "rm", "two", "gone")[:2] == (1, "two\n")


HELPER = """#!/bin/sh
# keeps what it is told in a file beside it
file=$(dirname "$0")/kept
case $1 in
store) cat > "$file" ;;
get) read -r server; grep -q "\\"$server\\"" "$file" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; }; cat "$file" ;;
erase) rm -f "$file" ;;
list) echo '{"kept.example": "me"}' ;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    program = bin_ / "docker-credential-test"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    return bin_


@pytest.mark.row("I-112", "I-116")
@pytest.mark.row("CL-064", "CL-065", "CL-151")
def test_a_helper_keeps_credentials_and_the_file_only_their_server(folder: Path, helper: Path) -> None:
    store = Credentials(write(folder, credsStore="test"))
    assert store.get("kept.example") == {}
    assert store.store("kept.example", "me", "pass", "") is False
    assert json.loads((folder / "config.json").read_text())["auths"] == {"kept.example": {}}
    assert store.get("kept.example") == {"username": "me", "password": "pass", "serveraddress": "kept.example"}
    assert list(store.every()) == ["kept.example"]
    store.store("kept.example", "me", "pass", "token")
    assert store.get("kept.example") == {"identitytoken": "token", "serveraddress": "kept.example"}
    store.erase("kept.example")
    assert not store.knows("kept.example")
    assert json.loads((folder / "config.json").read_text())["auths"] == {}


@pytest.mark.row("CL-151")
def test_a_helper_that_isnt_there_is_an_error_and_one_for_a_server_wins(folder: Path, helper: Path) -> None:
    with pytest.raises(HelperError, match='exec: "docker-credential-gone"'):
        Credentials(write(folder, credsStore="gone")).get("a.example")
    assert Credentials(write(folder, credsStore="gone", credHelpers={"a.example": "test"})).get("a.example") == {}


@pytest.mark.row("I-111", "I-115")
@pytest.mark.row("CL-064", "CL-148")
def test_credentials_of_the_file_and_of_the_environment_are_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = base64.b64encode(b"me:a:b").decode()
    store = Credentials(
        write(
            folder,
            auths={HUB: {"auth": plain}, "https://r.example/v2/": {"auth": plain}, "t.example": {"identitytoken": "x"}},
        )
    )
    assert store.get(HUB)["password"] == "a:b"
    assert store.get("r.example")["username"] == "me"
    assert store.get("t.example") == {"identitytoken": "x", "serveraddress": "t.example"}
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"e.example": {"auth": plain}}}))
    assert store.get("e.example")["username"] == "me"


@pytest.mark.row("CL-153")
def test_a_plugin_is_found_described_and_completed(folder: Path) -> None:
    directory = folder / "cli-plugins"
    directory.mkdir(parents=True)
    plugin = directory / "docker-hello"
    plugin.write_text(
        '#!/bin/sh\nif [ "$1" = docker-cli-plugin-metadata ]; then echo \'{"SchemaVersion":"0.1.0","Vendor":"v","ShortDescription":"Say hello"}\'; else echo "$DOCKER_HOST $@"; fi\n'
    )
    plugin.chmod(0o755)
    (directory / "docker-broken").write_text("no program")
    assert "hello\tSay hello\n" in call("__complete", "hel")[1]
    import subprocess
    import sys

    program = Path(sys.executable).parent / "onggi"
    done = subprocess.run(
        [program, "--context", "default", "hello", "--x", "y"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "unix:///run/onggi.sock --context default hello --x y\n")
    done = subprocess.run([program, "broken"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("onggi: unknown command: onggi broken")


@pytest.mark.row("CL-153", "CL-003", "CL-051")
@pytest.mark.parametrize("line", ["build", "image build", "builder build"])
def test_builds_are_buildxs_where_a_setting_or_a_flag_asks_for_it(folder: Path, line: str) -> None:
    import os
    import subprocess
    import sys

    directory = folder / "cli-plugins"
    directory.mkdir(parents=True)
    plugin = directory / "docker-buildx"
    plugin.write_text(
        '#!/bin/sh\nif [ "$1" = docker-cli-plugin-metadata ]; then echo \'{"SchemaVersion":"0.1.0"}\'; else echo "$@$BUILDX_BUILDER"; fi\n'
    )
    plugin.chmod(0o755)
    program = Path(sys.executable).parent / "onggi"

    def said(*more: str, **settings: str) -> subprocess.CompletedProcess[str]:
        words = [program, "-H", "unix:///nonexistent", *line.split(), *more, "."]
        return subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | settings)

    alone = said()
    assert (alone.returncode != 0, alone.stdout) == (True, ""), "there is nothing to build here, and buildx isn't asked"
    # In the engine's own builder, whatever `buildx use` has chosen, as its image is looked for in the engine.
    assert said(DOCKER_BUILDKIT="1").stdout == "-H unix:///nonexistent buildx build .default\n"
    assert said(DOCKER_BUILDKIT="1", BUILDX_BUILDER="b").stdout == "-H unix:///nonexistent buildx build .b\n"
    assert said("--builder=b", DOCKER_BUILDKIT="1").stdout == "-H unix:///nonexistent buildx build --builder=b .\n"
    assert said("--only-buildx-knows").stdout == "-H unix:///nonexistent buildx build --only-buildx-knows .default\n"
    refused = said("--only-buildx-knows", DOCKER_BUILDKIT="0")
    assert (refused.returncode, refused.stderr.partition("\n")[0]) == (125, "unknown flag: --only-buildx-knows")
    assert "expects boolean value" in said(DOCKER_BUILDKIT="perhaps").stderr
    (folder / "config.json").write_text('{"features": {"buildkit": "true"}}')
    assert said().stdout == "-H unix:///nonexistent buildx build .default\n"
    (folder / "config.json").write_text('{"aliases": {"builder": "buildx"}}')  # as `docker buildx install` does it
    assert said().stdout == "-H unix:///nonexistent buildx build .\n"
    assert said(DOCKER_BUILDKIT="0").stdout.startswith("-H unix:///nonexistent buildx") is (line == "builder build")


@pytest.mark.row("CL-149", "CL-153")
@pytest.mark.parametrize(
    ("aliases", "text"),
    [
        ({"foo": "buildx"}, 'not allowed to alias "foo" (allowed: map[string]struct {}{"builder":struct {}{}})\n'),
        ({"builder": "ps"}, 'not allowed to alias with builtin "ps" as target\n'),
    ],
)
def test_an_alias_that_docker_does_not_allow_is_refused_in_its_words(
    folder: Path, aliases: dict[str, str], text: str
) -> None:
    write(folder, aliases=aliases)
    assert call("version") == (1, "", text)


@pytest.mark.row("CL-001")
def test_bake_without_buildx_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_SYSTEM", ())
    code, out, err = call("bake")
    assert (code, out) == (1, "")
    assert err.startswith("ERROR: docker bake requires the buildx component but it is missing or broken.")


@pytest.mark.row("CL-148")
@pytest.mark.parametrize("line", ["pull x", "push x", "run x", "create x"])
def test_who_wants_signed_images_gets_no_unsigned_ones_in_silence(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    code, out, err = call(*line.split())
    assert (code in (1, 125), out, "DOCKER_CONTENT_TRUST is set" in err) == (True, "", True)
    word, image = line.split()
    assert "Cannot connect" in call(word, "--disable-content-trust", image)[2]
