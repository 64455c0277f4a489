"""--format's language beside Go's own: what docker's client made of each template on one container, errors included.

data/go_templates.json has lines of [template, whether it worked, what was printed], recorded with docker 28.2.2's `ps -a`.
"""

import json
from pathlib import Path

import pytest

from onggi.cli.structs import typed
from onggi.cli.tables import Columns
from onggi.cli.template_values import go_float, printf
from onggi.cli.templates import Struct, Template, TemplateError

CASES = json.loads((Path(__file__).parent / "data" / "go_templates.json").read_text())
HEADERS = {"ID": "CONTAINER ID", "Names": "NAMES", "Labels": "LABELS", "State": "STATE"}
LABELS = {"a.b-c": "1", "x": "2"}
ROW = {
    "ID": "15bfabbac03d", "Names": "t1", "Labels": "a.b-c=1,x=2", "State": "created", "Label": lambda name: LABELS.get(name, ""),
}  # fmt: skip
EMPTY = {**dict.fromkeys(ROW, ""), "Label": lambda name: ""}
TYPE = "*formatter.ContainerContext"


@pytest.mark.row("CL-159", "CL-160", "CL-161")
@pytest.mark.parametrize(("text", "works", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_a_template_prints_and_fails_as_in_go(
    capsys: pytest.CaptureFixture[str], text: str, works: bool, wanted: str
) -> None:
    try:
        # docker tries a template on an empty row before it asks the engine.
        Template(text.removeprefix("table ")).render(Struct(EMPTY, TYPE))
        Columns(HEADERS, list(HEADERS), TYPE).print([ROW], text)
        said = (True, capsys.readouterr().out.removesuffix("\n"))
    except TemplateError as error:
        said = (False, str(error))
    except Exception as error:
        said = (False, str(error).removeprefix("template parsing error: "))
    assert said == (works, wanted)


DOCUMENT = {
    "Id": "0123", "Created": "2024-01-02T03:04:05.500Z", "State": {"Status": "created", "Running": False, "Pid": 0},
    "HostConfig": {"NanoCpus": 5, "CapAdd": None, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}]},
                   "LogConfig": {"Type": "json-file", "Config": {}}, "Init": None},
    "Config": {"Labels": {"k": "v"}, "Env": ["A=1"], "Volumes": None, "Cmd": ["sh"]},
    "Mounts": [{"Type": "bind", "Source": "/s", "Destination": "/d", "Mode": "", "RW": True, "Propagation": "rprivate"}],
}  # fmt: skip


@pytest.mark.row("CL-159", "CL-160")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{{.ID}} {{.HostConfig.NanoCPUs}}", "0123 5"),
        ("{{.State.Health}} {{.HostConfig.Init}}", "<nil> <nil>"),
        ("{{.HostConfig.CapAdd}} {{json .HostConfig.CapAdd}} {{.Config.Volumes}}", "[] null map[]"),
        ("{{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}}", "{no 0} {json-file map[]}"),
        ("{{.HostConfig.PortBindings}} {{json .HostConfig.PortBindings}}", 'map[80/tcp:[{ 80}]] {"80/tcp":[{"HostIp":"","HostPort":"80"}]}'),
        ("{{.Mounts}} {{len .Mounts}}", "[{bind  /s /d   true rprivate}] 1"),
        ('{{.Config.Labels.nope}}|{{index .Config.Labels "nope"}}|{{index .Config.Labels "k"}}', "<no value>||v"),
        ("{{range $p, $b := .HostConfig.PortBindings}}{{$p}} {{(index $b 0).HostPort}}{{end}}", "80/tcp 80"),
        ("{{index .Config.Env 0}} {{.Config.Cmd}}", "A=1 [sh]"),
        ('{{(index (index .HostConfig.PortBindings "80/tcp") 0).HostPort}}{{index .HostConfig.PortBindings "99/tcp"}}', "80[]"),
    ],
)  # fmt: skip
def test_a_document_reads_as_gos_structs(text: str, wanted: str) -> None:
    assert Template(text).render(typed(DOCUMENT)) == wanted


@pytest.mark.row("CL-159")
@pytest.mark.parametrize("text", ["{{.Id}}", "{{.HostConfig.NanoCpus}}", "{{.Nope}}", "{{.State.Health.Status}}"])
def test_names_of_json_alone_are_for_the_second_try(text: str) -> None:
    with pytest.raises(TemplateError):
        Template(text).render(typed(DOCUMENT))


@pytest.mark.row("CL-159")
def test_a_key_that_json_hasnt_is_named_in_the_error() -> None:
    with pytest.raises(TemplateError) as raised:
        Template("x {{.HostConfig.Nope.X}}", strict=True).render(DOCUMENT)
    assert str(raised.value) == 'template: :1:15: executing "" at <.HostConfig.Nope.X>: map has no entry for key "Nope"'


@pytest.mark.row("CL-160")
def test_times_of_a_network_read_as_gos() -> None:
    found = typed({"Created": "2024-01-02T03:04:05.500100000Z", "Labels": {}}, "Network")
    assert (
        Template("{{.Created}} {{json .Created}}").render(found)
        == '2024-01-02 03:04:05.5001 +0000 UTC "2024-01-02T03:04:05.500100000Z"'
    )


@pytest.mark.row("CL-160")
def test_floats_print_with_the_fewest_digits_and_an_exponent_where_go_has_one() -> None:
    shown = {
        0.0: "0",
        0.5: "0.5",
        100000.0: "100000",
        1000000.0: "1e+06",
        1234567.0: "1.234567e+06",
        1e21: "1e+21",
        0.0001: "0.0001",
        0.00001: "1e-05",
        -2.5: "-2.5",
    }
    assert {value: go_float(value) for value in shown} == shown


@pytest.mark.row("CL-160")
def test_printf_says_in_place_what_doesnt_fit() -> None:
    assert printf("%5d|%-5s|%05.1f|%x|%%", 3, "ab", 2.25, 255) == "    3|ab   |002.2|ff|%"
    assert printf("%d %s", "x") == "%!d(string=x) %!s(MISSING)"
    assert printf("%[2]s %[1]s", "a", "b") == "b a"
    assert printf("%z", 1) == "%!z(int=1)"
