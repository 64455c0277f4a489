"""Every command of docker's client: it is there under all its names, with its flags, defaults and number of words.

The table is data/docker_commands.tsv, distilled from the client's own help and errors.
"""

import io
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from onggi.cli import helptexts, main
from onggi.cli.commands import GROUPS, TOP
from onggi.cli.flags import Flag, read_flags

TABLE = Path(__file__).parent / "data" / "docker_commands.tsv"
LINES = [line.split("\t") for line in TABLE.read_text().splitlines() if not line.startswith("#")]
COMMANDS = [line for line in LINES if line[3] != "group"]
OURS = {"sig-proxy", "detach-keys"}


def where(name: str) -> str:
    group, _, word = name.partition(" ")
    return GROUPS[group][word] if word else TOP[name]


def call(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main.run("docker", list(words))
    return code, out.getvalue(), err.getvalue()


def shown(flag: Flag) -> str:
    default = "" if flag.shown_default in ("0", "false") else flag.shown_default
    return (f"-{flag.short}/" if flag.short else "") + f"--{flag.name} {flag.kind}" + (f"={default}" if default else "")


@pytest.mark.row("docker_commands.tsv")
@pytest.mark.parametrize("line", COMMANDS, ids=[line[1] for line in COMMANDS])
def test_a_command_has_dockers_flags_defaults_and_names(line: list[str]) -> None:
    _, name, others, _, flags = line
    command = main.load(where(name))
    ours = {shown(flag) for flag in read_flags(command.flags)}
    assert set(filter(None, flags.split(", "))) - ours == set()
    for other in filter(None, others.split(", ")):
        assert where(other) == where(name)


@pytest.mark.row("CL-154")
@pytest.mark.parametrize("line", COMMANDS, ids=[line[1] for line in COMMANDS])
def test_a_wrong_number_of_words_is_told_as_docker_tells_it(line: list[str]) -> None:
    name, words = line[1], line[3]
    least, _, most = words.removesuffix("+").partition("-")
    top = "" if words.endswith("+") else most or least
    wrong = ([int(least) - 1] if int(least) else []) + ([int(top) + 1] if top else [])
    for count in wrong:
        code, out, err = call(*name.split(), *["word"] * count)
        assert (code, out) == (1, "")
        assert err.startswith(f"docker: 'docker {name}' ")
        assert f"\n\nUsage:  docker {name}" in err
        assert f"'docker {name} --help' for more information\n" in err
        assert set(re.findall(r"\d+", err.partition("\n")[0])) == {least, top} - {"", "0"}


@pytest.mark.row("CL-154", "CL-174")
@pytest.mark.parametrize("name", [*(line[1] for line in LINES), ""])
def test_help_goes_to_stdout_and_an_unknown_flag_is_wrong_use(name: str) -> None:
    code, out, err = call(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage:  docker{' ' if name else ''}{name}")
    assert max(map(len, out.splitlines())) <= 120
    code, out, err = call(*name.split(), "--no-such-flag")
    assert (code, out) == (125, "")
    assert err.startswith("unknown flag: --no-such-flag\n\nUsage:  docker")


@pytest.mark.row("CL-174")
@pytest.mark.parametrize("group", [line[1] for line in LINES if line[3] == "group"])
def test_a_group_alone_prints_its_help_and_refuses_a_strange_word(group: str) -> None:
    code, out, err = call(group)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage:  docker {group} COMMAND\n\n{helptexts.GROUPS[group]}\n\nCommands:\n")
    code, out, err = call(group, "nonsense")
    assert (code, out) == (1, "")
    assert (
        err
        == f"docker: unknown command: docker {group} nonsense\n\nUsage:  docker {group}\n\nRun 'docker {group} --help' for more information\n"
    )


@pytest.mark.row("CL-154", "CL-174")
def test_an_unknown_command_is_told_and_a_near_one_is_offered() -> None:
    assert call("nonsense") == (
        1,
        "",
        "docker: unknown command: docker nonsense\n\nRun 'docker --help' for more information\n",
    )
    assert '(did you mean "images"?)' in call("imagess")[2]
    assert '(did you mean "prune"?)' in call("system", "prnue")[2]


@pytest.mark.row("CL-174")
def test_the_programs_name_is_the_one_it_was_called_by() -> None:
    assert "podder ps [OPTIONS]" in _help("podder", "ps")
    assert "podder container ls, podder container list, podder container ps, podder ps" in _help(
        "podder", "container", "ls"
    )


def _help(program: str, *words: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert main.run(program, [*words, "--help"]) == 0
    return out.getvalue()


@pytest.mark.row("CL-145")
def test_global_flags_stand_before_the_command() -> None:
    names = {flag.name for flag in read_flags(main.GLOBAL_FLAGS)}
    assert names >= {
        "config",
        "context",
        "debug",
        "host",
        "log-level",
        "tls",
        "tlscacert",
        "tlscert",
        "tlskey",
        "tlsverify",
        "version",
    }
    assert call("--nope")[0] == 125
    assert call("-H", "unix:///a", "-H", "unix:///b", "ps")[::2] == (1, "Specify only one -H\n")
    assert call("-l", "loud", "ps")[::2] == (1, "Unable to parse logging level: loud\n")
    assert call("--version")[1].startswith("onggi version ")


@pytest.mark.row("CL-175")
def test_a_shells_question_is_answered_as_cobra_answers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    assert call("__complete", "conta")[1] == f"container\t{helptexts.GROUPS['container']}\n:4\n"
    assert call("__completeNoDesc", "container", "at")[1] == "attach\n:4\n"
    assert call("__complete", "run", "--pull", "")[1] == "always\nmissing\nnever\n:4\n"
    assert call("__complete", "run", "--restart=al")[1] == "--restart=always\n:4\n"
    assert "--publish-all\t" in call("__complete", "run", "--pub")[1]
    assert call("__complete", "run", "--cap-add", "NET_A")[1] == "NET_ADMIN\n:4\n"
    assert call("__complete", "exec", "x", "")[1] == ":0\n"
    assert call("__complete", "ps", "-a", "")[1] == ":4\n"
    assert call("__complete", "stop", "")[1] == ":4\n", "an engine that doesn't answer disturbs nobody"


@pytest.mark.row("CL-175")
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_each_shells_script_asks_the_program_it_is_for(shell: str) -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        assert main.run("docker", ["completion", shell]) == 0
    assert "docker __complete" in out.getvalue()


@pytest.mark.row("CL-175")
def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    import subprocess

    program = Path(sys.executable).parent / "onggi"
    script = f'source <({program} completion bash); COMP_WORDS=(onggi vol); COMP_CWORD=1; _onggi_complete; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.stdout == "volume\n"
