"""Command lines as runc takes them."""

from __future__ import annotations

import pytest

from onggi.runtime.command import HANDLERS
from onggi.runtime.commandtable import COMMANDS
from onggi.runtime.flags import Flag, UsageError, parse

FLAGS = (Flag("bundle", "", "text", "b", "."), Flag("force", "", short="f"), Flag("env", "", "list", "e"))


def test_flags_take_one_dash_or_two_and_a_value_in_any_form() -> None:
    for words in (["--bundle", "x"], ["-bundle", "x"], ["-b", "x"], ["--bundle=x"], ["-b=x"]):
        assert parse(FLAGS, words).text("bundle") == "x"


def test_a_switch_may_be_switched_off() -> None:
    assert parse(FLAGS, ["--force"]).switches == {"force"}
    assert parse(FLAGS, ["-f", "--force=false"]).switches == set()


def test_lists_keep_all_values_and_texts_the_last() -> None:
    given = parse(FLAGS, ["-e", "a=1", "--env=b", "-b", "x", "-b", "y"])
    assert given.lists == {"env": ["a=1", "b"]}
    assert given.text("bundle") == "y"


def test_words_of_the_command_of_exec_are_no_flags() -> None:
    assert parse(FLAGS, ["-f", "id", "ls", "-f", "--", "-b"]).rest == ["id", "ls", "-f", "--", "-b"]


def test_flags_may_follow_the_argument_where_nothing_else_does() -> None:
    given = parse(FLAGS, ["id", "-f", "--", "-b"], anywhere=True)
    assert (given.rest, given.switches) == (["id", "-b"], {"force"})


@pytest.mark.parametrize("words", [["--nothing"], ["--bundle"], ["-e"]])
def test_what_cannot_be_read_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(FLAGS, words)


@pytest.mark.row("P-166")
def test_the_commands_that_container_engines_call_are_there() -> None:
    wanted = {"create", "start", "state", "kill", "delete", "run", "exec", "list", "spec", "features", "ps", "pause"}
    named = {command.name for command in COMMANDS}
    assert wanted | {"resume", "update", "events", "checkpoint", "restore"} == named
    assert set(HANDLERS) == named
