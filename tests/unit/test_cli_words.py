"""Words of the command line: flags, values, templates, columns, sizes; and what they say in the API's words."""

import io
import os
import sys
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.cli import buildcontext, config_words, ports, progress, runflags, session, tables, units
from onggi.cli.copying import split as split_copy
from onggi.cli.flags import HelpWanted, UsageError, parse, read_flags
from onggi.cli.listing import ports_text
from onggi.cli.references import registry_of, split
from onggi.cli.templates import Template, TemplateError
from onggi.durations import human_duration

RUN = read_flags(runflags.FLAGS + "-d --detach bool  x\n")


def config(*words: str) -> dict:
    options, rest = parse(RUN, list(words), interspersed=False)
    return config_words.container_config(options, rest[0], rest[1:])


@pytest.mark.row("CL-032")
def test_flags_join_take_values_in_every_form_and_end_at_the_image():
    options, rest = parse(
        RUN, ["-itm64m", "--name=web", "--rm", "-e", "A=1", "--init=false", "image", "-x", "--rm"], interspersed=False
    )
    assert rest == ["image", "-x", "--rm"]
    assert (options.on("interactive"), options.on("tty"), options.number("memory"), options.text("name")) == (
        True,
        True,
        64 << 20,
        "web",
    )
    assert options.on("rm")
    assert not options.on("init")
    assert options.list("env") == ["A=1"]


@pytest.mark.row("CL-032")
@pytest.mark.parametrize(
    ("text", "size"),
    [("64m", 64 << 20), (".5g", 1 << 29), ("5.", 5), ("1e3", 1000), ("10KiB", 10 << 10), ("1 m", 1 << 20), ("7b", 7)],
)
def test_sizes_are_read_as_docker_reads_them(text, size):
    options, _ = parse(RUN, ["-m", text, "--memory-swap", "-1"])
    assert options.number("memory") == size
    assert options.number("memory-swap") == -1


@pytest.mark.row("CL-154")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["--name"], "flag needs an argument: --name"),
        (["-m", "x"], 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
        (["-m", "10z"], 'invalid argument "10z" for "-m, --memory" flag: invalid suffix: \'z\''),
        (["-m", "5bb"], 'invalid argument "5bb" for "-m, --memory" flag: invalid suffix: \'bb\''),
        (
            ["-m", "1x5"],
            'invalid argument "1x5" for "-m, --memory" flag: strconv.ParseFloat: parsing "1x5": invalid syntax',
        ),
        (["-m", "-1"], 'invalid argument "-1" for "-m, --memory" flag: invalid size: \'-1\''),
        (["--memory-swap", "-2"], 'invalid argument "-2" for "--memory-swap" flag: invalid size: \'-2\''),
        (["--rm=perhaps"], 'invalid argument "perhaps" for "--rm" flag'),
    ],
)
def test_wrong_use_is_said_in_dockers_words(words, text):
    with pytest.raises(UsageError) as raised:
        parse(RUN, words)
    assert str(raised.value).startswith(text)


def test_help_is_asked_for_at_any_place():
    with pytest.raises(HelpWanted):
        parse(RUN, ["image", "--help"])


@pytest.mark.row("CL-176")
@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("80", {"80/tcp": [{"HostIp": "", "HostPort": ""}]}),
        ("8080:80", {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}),
        ("127.0.0.1:8080:80/udp", {"80/udp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}),
        ("[::1]:8080:80", {"80/tcp": [{"HostIp": "::1", "HostPort": "8080"}]}),
        ("127.0.0.1::80", {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}),
        (
            "8000-8001:80-81",
            {"80/tcp": [{"HostIp": "", "HostPort": "8000"}], "81/tcp": [{"HostIp": "", "HostPort": "8001"}]},
        ),
        ("8000-8005:80", {"80/tcp": [{"HostIp": "", "HostPort": "8000-8005"}]}),
    ],
)
def test_published_ports_have_dockers_grammar(word, wanted):
    assert ports.publish(word) == wanted


@pytest.mark.parametrize("word", ["70000", "80:", "1:2:3:4:5", "80/icmp", "9-8:80-79", "x:80"])
def test_ports_that_mean_nothing_are_refused(word):
    with pytest.raises(ValueError):
        ports.publish(word)


@pytest.mark.row("CL-176")
def test_mounts_networks_and_limits_become_the_apis_words(monkeypatch, tmp_path):
    monkeypatch.setenv("FROM_CLIENT", "here")
    monkeypatch.delenv("UNSET", raising=False)
    env_file = tmp_path / "env"
    env_file.write_text("# comment\nFILE=1\nFROM_CLIENT\n")
    body = config(
        "--mount", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770", "-v", "data:/d:ro", "-v", "/anonymous", "--network", "name=n,alias=a,ip=10.0.0.9",
        "--cpus", "1.5", "--ulimit", "nofile=1:2", "--restart", "on-failure:3", "-e", "FROM_CLIENT", "-e", "UNSET", "-e", "B=2", "--env-file", str(env_file),
        "--health-cmd", "true", "--health-interval", "1m30s", "--device", "/dev/fuse:/dev/x:r", "--tmpfs", "/run:size=1m", "img", "cmd", "arg",
    )  # fmt: skip
    host = body["HostConfig"]
    assert host["Mounts"] == [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770}}]
    assert (host["Binds"], body["Volumes"]) == (["data:/d:ro"], {"/anonymous": {}})
    assert host["NetworkMode"] == "n"
    assert body["NetworkingConfig"]["EndpointsConfig"]["n"] == {
        "Aliases": ["a"],
        "IPAMConfig": {"IPv4Address": "10.0.0.9"},
    }
    assert (host["NanoCpus"], host["Ulimits"]) == (1_500_000_000, [{"Name": "nofile", "Soft": 1, "Hard": 2}])
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert body["Env"] == ["FILE=1", "FROM_CLIENT=here", "FROM_CLIENT=here", "UNSET", "B=2"]
    assert body["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 90 * 10**9}
    assert host["Devices"] == [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}]
    assert host["Tmpfs"] == {"/run": "size=1m"}
    assert body["Cmd"] == ["cmd", "arg"]


@pytest.mark.row("CL-160")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{{.A.B}} {{.N}}", "x 3"),
        ("{{json .A}}", '{"B":"x"}'),
        ("{{range .L}}<{{.}}>{{else}}none{{end}}", "<a><b>"),
        ("{{range $i, $v := .L}}{{$i}}{{$v}}{{end}}", "0a1b"),
        ("{{if eq .N 1 3}}yes{{else if .A}}no{{end}}", "yes"),
        ("{{with .A}}{{.B}}{{end}}{{$.N}}", "x3"),
        ('{{index .L 1}}{{index .A "B"}}', "bx"),
        ("{{.A}} {{.L}} {{.T}} {{.Z}} {{.Missing}}", "map[B:x] [a b] true <nil> <no value>"),
        ('{{.A.B | upper | printf "%-3s|"}}', "X  |"),
        ("{{len .L}}{{not .T}}{{and .T .N}}{{or .Z .N}}", "2false33"),
        ("a {{- /* gone */ -}} b", "ab"),
        ('{{join .L ","}}{{slice .L 1}}', "a,b[b]"),
    ],
)
def test_templates_are_gos(text, wanted):
    data = {"A": {"B": "x"}, "N": 3, "L": ["a", "b"], "T": True, "Z": None}
    assert Template(text).render(data) == wanted


@pytest.mark.parametrize(
    "text", ["{{", "{{.A", "{{nope .A}}", "{{if .A}}", "{{end}}", "{{(.A}}", "{{index .L 9}}", "{{.S.x}}"]
)
def test_templates_that_cant_be_are_refused(text):
    with pytest.raises(TemplateError):
        Template(text).render({"A": 1, "L": [], "S": "s"})


@given(st.text(alphabet='{}.|()"$: abAB-/*', max_size=60))
def test_no_template_ends_in_anything_but_text_or_an_error(text):
    try:
        assert isinstance(Template(text).render({"a": {"b": [1]}, "A": "x"}), str)
    except TemplateError:
        pass


@pytest.mark.row("CL-166")
def test_sizes_and_times_read_as_dockers():
    assert [units.human_size(n, 3) for n in (0, 999, 1000, 1536, 211_000_000, 1_234_567_890)] == [
        "0B",
        "999B",
        "1kB",
        "1.54kB",
        "211MB",
        "1.23GB",
    ]
    assert [units.binary_size(n) for n in (164 << 10, int(17.96 * 2**20), 23 << 30)] == ["164KiB", "17.96MiB", "23GiB"]
    spans = {
        0.2: "Less than a second",
        1: "1 second",
        59: "59 seconds",
        61: "About a minute",
        3600: "About an hour",
        86400 * 3: "3 days",
        86400 * 40: "5 weeks",
    }
    assert {seconds: human_duration(seconds) for seconds in spans} == spans
    assert units.rfc3339("2024-01-02T03:04:05.5+01:00") == 1704161045.5
    assert units.rfc3339("0001-01-01T00:00:00Z") == 0.0


@given(st.integers(0, 2**50))
def test_a_printed_size_is_read_back_to_three_digits(size):
    assert abs(units.parse_bytes(units.binary_size(size).replace("iB", "").replace("B", "")) - size) <= size * 0.01 + 1


@pytest.mark.row("CL-164")
def test_columns_are_ten_cells_wide_at_least_and_escapes_never_reach_the_terminal():
    text = tables.table(["A", "NAME"], [["x\x1b[31m", "한"], ["y", "z"]])
    assert text == "A         NAME\nx�[31m    한\ny         z\n"


@pytest.mark.row("CL-167")
def test_runs_of_ports_are_joined():
    ports = [{"PrivatePort": 80 + n, "PublicPort": 8080 + n, "IP": "0.0.0.0", "Type": "tcp"} for n in range(3)]
    ports += [{"PrivatePort": 53, "Type": "udp"}, {"PrivatePort": 80, "PublicPort": 80, "IP": "::", "Type": "tcp"}]
    assert ports_text(ports) == "53/udp, [::]:80->80/tcp, 0.0.0.0:8080-8082->80-82/tcp"


def test_references_split_at_the_tag_and_not_at_the_registrys_port():
    assert split("host:5000/a/b") == ("host:5000/a/b", "latest")
    assert split("host:5000/a/b:1") == ("host:5000/a/b", "1")
    assert split(f"a@sha256:{'0' * 64}") == ("a", f"sha256:{'0' * 64}")
    assert [registry_of(name) for name in ("busybox", "a/b", "localhost/a", "h:5/a")] == [
        "docker.io",
        "docker.io",
        "localhost",
        "h:5",
    ]


@pytest.mark.row("CL-017")
def test_a_container_path_has_a_colon_and_a_local_one_begins_with_a_slash_or_a_dot():
    assert [split_copy(word) for word in ("c:/x", "/a:b", "./a:b", "plain")] == [
        ("c", "/x"),
        ("", "/a:b"),
        ("", "./a:b"),
        ("", "plain"),
    ]


def test_detach_keys_are_found_over_several_reads_and_their_beginning_is_passed_on():
    keys = session._Keys(session.detach_bytes("ctrl-p,ctrl-q"))
    assert keys.pass_on(b"a\x10") == b"a"
    assert keys.pass_on(b"b") == b"\x10b"
    assert keys.pass_on(b"\x10") == b""
    with pytest.raises(session.Detached):
        keys.pass_on(b"\x11")
    with pytest.raises(ValueError):
        session.detach_bytes("ctrl-,x")


@pytest.mark.row("CL-169")
def test_progress_without_a_terminal_has_no_bars_and_an_error_ends_it(capsys):
    items = [
        {"status": "Pulling", "id": "x"},
        {"status": "Downloading", "id": "x", "progressDetail": {"current": 1, "total": 2}},
        {"stream": "Step 1\n"},
    ]
    progress.show(iter(items))
    assert capsys.readouterr().out == "x: Pulling\nStep 1\n"
    with pytest.raises(Exception, match="broken"):
        progress.show(iter([{"errorDetail": {"message": "broken", "code": 3}, "error": "broken"}]))


def test_a_context_leaves_out_what_dockerignore_names(tmp_path):
    for name in ("Dockerfile", "keep", "drop/inner", "drop/saved", ".git/x"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / ".dockerignore").write_text("drop\n!drop/saved\n.git\n")
    pieces, dockerfile = buildcontext.from_directory(str(tmp_path), "", {})
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        names = {member.name for member in tar if member.isfile()}
        assert all(member.uid == 0 for member in tar)
    assert (dockerfile, names) == ("Dockerfile", {"Dockerfile", "keep", "drop/saved", ".dockerignore"})


@pytest.mark.row("CL-145")
def test_version_imports_next_to_nothing():
    import subprocess

    code = (
        "import sys; sys.argv=['onggi','--version']; from onggi.cli.main import main; main(); print(len(sys.modules))"
    )
    plain = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(len(sys.modules))"], capture_output=True, text=True, check=True
    )
    ours = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert ours.stdout.startswith("onggi version ")
    assert int(ours.stdout.split()[-1]) <= int(plain.stdout) + 6
