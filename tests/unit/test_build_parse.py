"""The Dockerfile language: lines, heredocs, forms and errors."""

from __future__ import annotations

import pytest

from onggi.build.dockerfile import parse_dockerfile
from onggi.build.errors import DockerfileError
from onggi.build.instructions import Cmd, Copy, Env, Expose, Healthcheck, Instruction, Label, OnBuild, Run, Shell
from onggi.build.lines import split_lines


def instructions(text: str) -> list[Instruction]:
    """Those after FROM."""
    return parse_dockerfile(f"FROM x\n{text}".encode()).stages[0].instructions


def one(text: str) -> Instruction:
    (found,) = instructions(text)
    return found


def texts(text: str) -> list[str]:
    return [line.text for line in split_lines(text.encode()).lines]


@pytest.mark.row("F-009")
@pytest.mark.row("F-010")
@pytest.mark.row("F-011")
@pytest.mark.row("F-016")
def test_lines_are_joined_and_comments_vanish() -> None:
    assert texts("# c\n  RUN a \\\n# in between\n\n  b \\   \n c\n") == ["RUN a   b  c"]
    assert texts("RUN a \\\r\n b\r\nRUN c\r\n") == ["RUN a  b", "RUN c"]
    assert texts("RUN a \\") == ["RUN a "]
    assert texts("RUN a \\\\\nRUN b\n") == ["RUN a \\\\", "RUN b"]
    assert texts("RUN a # not a comment\n") == ["RUN a # not a comment"]
    assert split_lines(b"RUN a \\\n\n b\n").empty_continuations == [3]


@pytest.mark.row("F-001")
@pytest.mark.row("F-002")
@pytest.mark.row("F-003")
@pytest.mark.row("F-007")
def test_directives_stand_at_the_top_only() -> None:
    assert split_lines(b"# Escape = `\n# syntax=x\nRUN a `\nb\n").directives == {"escape": "`", "syntax": "x"}
    assert split_lines("\ufeff#!/bin/x\n# check=skip=all\nRUN a\n".encode()).directives == {"check": "skip=all"}
    assert split_lines(b"\n# escape=`\nRUN a\n").directives == {}
    assert split_lines(b"# unknown=1\n# escape=`\nRUN a\n").directives == {}
    assert split_lines(b"RUN a\n# escape=`\n").directives == {}
    with pytest.raises(DockerfileError, match="only one escape parser directive can be used"):
        split_lines(b"# escape=`\n# ESCAPE=`\nRUN a\n")
    with pytest.raises(DockerfileError, match="invalid escape token 'x'"):
        split_lines(b"# escape=x\nRUN a\n")


@pytest.mark.row("F-058")
@pytest.mark.row("F-097")
def test_heredocs_have_names_quotes_and_tabs() -> None:
    run = one("RUN <<EOF cat <<-'two'\nfirst $x\nEOF\n\ttabbed\n\t two\ntwo\n")
    assert isinstance(run, Run)
    assert [(h.name, h.content, h.expand, h.chomp) for h in run.heredocs] == [
        ("EOF", "first $x\n", True, False),
        ("two", "\ttabbed\n\t two\n", False, True),
    ]
    assert run.heredocs[1].text == "tabbed\n two\n"
    copy = one("COPY <<a file <<b /to/\nA\na\nB\nb\n")
    assert isinstance(copy, Copy)
    assert (copy.sources, [h.name for h in copy.heredocs], copy.destination) == (("file",), ["a", "b"], "/to/")
    for text in ("RUN echo '<<EOF'", "RUN echo $((1<<2))", 'RUN ["a", "<<EOF"]', "ENV a=<<EOF", "RUN cat <<<word"):
        assert not getattr(one(text), "heredocs", ())
    trigger = one("ONBUILD COPY <<E /x\nbody\nE\n")
    assert isinstance(trigger, OnBuild)
    assert trigger.expression == "COPY <<E /x\nbody\nE"
    with pytest.raises(DockerfileError, match="^unterminated heredoc"):
        one("RUN <<EOF\nbody\n")


@pytest.mark.row("F-017")
@pytest.mark.row("F-018")
def test_a_json_array_is_exec_form_and_anything_else_is_shell_form() -> None:
    assert [(i.words, i.is_json) for i in instructions('CMD ["a", "b c"]\nCMD a "b"\nCMD [ a ]\nCMD []\nCMD [\'a\']') if isinstance(i, Cmd)] == [
        (("a", "b c"), True), (('a "b"',), False), (("[ a ]",), False), ((), True), (("['a']",), False),
    ]  # fmt: skip
    with pytest.raises(DockerfileError, match="arrays must be comprised of strings only"):
        one('CMD ["a", 1]')


@pytest.mark.row("F-012")
@pytest.mark.row("F-107")
@pytest.mark.row("F-108")
@pytest.mark.row("F-115")
def test_words_of_instructions() -> None:
    env = one("env a=1 b=\"two words\" c='x y' d=e\\ f")
    assert isinstance(env, Env)
    assert env.pairs == (("a", "1"), ("b", '"two words"'), ("c", "'x y'"), ("d", "e\\ f"))
    old = one("ENV name  value with = blanks ")
    assert isinstance(old, Env)
    assert old.pairs == (("name", "value with = blanks"),)
    label = one('LABEL "a b"=c')
    assert isinstance(label, Label)
    assert label.pairs == (('"a b"', "c"),)
    copy = one('COPY --from=x --chown=a:b --chmod="755" --link --exclude=*.md --exclude=y a b c/')
    assert isinstance(copy, Copy)
    assert (copy.origin, copy.chown, copy.chmod, copy.link, copy.exclude) == ("x", "a:b", "755", True, ("*.md", "y"))
    expose = one("EXPOSE 90 80/udp")
    assert isinstance(expose, Expose)
    assert expose.ports == ("80/udp", "90")
    shell = one('SHELL ["a", "-c"]')
    assert isinstance(shell, Shell)
    assert shell.words == ("a", "-c")


@pytest.mark.row("F-116")
def test_health_checks_have_durations_and_forms() -> None:
    check = one('HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=0 --retries=2 CMD ["a", "b"]')
    assert isinstance(check, Healthcheck)
    health = check.health
    assert (health.test, health.interval, health.timeout, health.start_period, health.retries) == (
        ["CMD", "a", "b"], 90 * 10**9, 500 * 10**6, 0, 2,
    )  # fmt: skip
    none = one("HEALTHCHECK none")
    assert isinstance(none, Healthcheck)
    assert none.health.test == ["NONE"]


@pytest.mark.row("F-013")
@pytest.mark.row("F-014")
@pytest.mark.row("F-041")
@pytest.mark.row("F-067")
@pytest.mark.row("F-114")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM x\nFOO a", r"^dockerfile parse error on line 2: unknown instruction: FOO \(did you mean FROM\?\)$"),
        ("FROM x\n\n\nRNU a", r"line 4: unknown instruction: RNU \(did you mean RUN\?\)"),
        ("", "^file with no instructions$"),
        ("# only\n", "^file with no instructions$"),
        ("RUN a", "^no build stage in current context"),
        ("ARG a", "no build stage in current context"),
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a AS 1x", 'invalid name for build stage: "1x"'),
        ("FROM a\nENV", "ENV requires at least one argument"),
        ("FROM a\nENV x", "ENV must have two arguments"),
        ("FROM a\nENV a=b c", 'can\'t find = in "c"'),
        ("FROM a\nENV =b", "ENV names can not be blank"),
        ("FROM a\nCOPY x", "COPY requires at least two arguments, but only one was provided"),
        ("FROM a\nCOPY --nope x y", "unknown flag: --nope"),
        ("FROM a\nCOPY --chown x y", "missing a value on flag: --chown"),
        ("FROM a\nCOPY --chown=a --chown=b x y", "duplicate flag specified: --chown"),
        ("FROM a\nCOPY --link=maybe x y", "expecting boolean value for flag --link, not: maybe"),
        (
            "FROM a\nRUN --mount=from=$x,target=/x a",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("FROM a\nSHELL a b", "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("FROM a\nONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nONBUILD FOO x", "line 2: unknown instruction: FOO"),
        ("FROM a\nHEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("FROM a\nHEALTHCHECK x", r'Unknown type "X" in HEALTHCHECK \(try CMD\)'),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x", "cannot be less than 1ms"),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x", r"--retries cannot be negative \(-1\)"),
        ("FROM a\nVOLUME", "VOLUME requires at least one argument"),
        ("FROM a\nWORKDIR", "WORKDIR requires exactly one argument"),
        ("FROM a\nCOPY <<E <<F\na\nE\nb\nF", "COPY cannot accept a heredoc as a destination"),
    ],
)
def test_errors_say_what_docker_says(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        parse_dockerfile(text.encode())


@pytest.mark.row("F-015")
def test_long_lines_and_heredocs_are_read() -> None:
    run = one("RUN echo " + "x" * 2_000_000)
    assert isinstance(run, Run)
    assert len(run.words[0]) == 2_000_005
    big = one("COPY <<E /x\n" + "line of a file\n" * 700_000 + "E\n")
    assert isinstance(big, Copy)
    assert len(big.heredocs[0].content) > 10_000_000


@pytest.mark.row("F-044")
@pytest.mark.row("F-047")
def test_stages_are_found_by_name_or_number_and_only_earlier_ones() -> None:
    found = parse_dockerfile(b"FROM a AS One\nFROM b\nFROM c AS one\nFROM d")
    assert found.find("ONE", 2) is found.stages[0]
    assert found.find("one", 4) is found.stages[2]
    assert found.find("1", 2) is found.stages[1]
    assert found.find("2", 2) is None
    assert found.target("") is found.stages[3]
