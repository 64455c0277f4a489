"""`docker top`: which rows of the host's ps are the container's."""

from __future__ import annotations

import pytest

from onggi.engine.top import check_arguments, parse
from onggi.errors import InvalidArgument, OnggiError

OUTPUT = """\
UID        PID  PPID  C STIME TTY          TIME CMD
root         1     0  0 10:00 ?        00:00:01 /sbin/init
root        42     1  0 10:01 ?        00:00:00 sh -c  two  spaces
root       421     1  0 10:01 ?        00:00:00 other
"""


@pytest.mark.row("E-004")
def test_only_the_containers_rows_are_kept_and_the_last_column_keeps_its_spaces() -> None:
    top = parse(OUTPUT, {42})
    assert top.titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert top.processes == [["root", "42", "1", "0", "10:01", "?", "00:00:00", "sh -c  two  spaces"]]


@pytest.mark.row("E-004")
def test_output_without_a_pid_column_is_an_error() -> None:
    with pytest.raises(OnggiError, match="Couldn't find PID field in ps output"):
        parse("USER COMMAND\nroot sh\n", {1})


@pytest.mark.parametrize("arguments", ["-o ppid=PID", "-eo comm=PIDS"])
def test_another_column_may_not_be_called_pid(arguments: str) -> None:
    with pytest.raises(InvalidArgument, match="is not allowed"):
        check_arguments(arguments.replace("-eo ", "-e -o "))


def test_ordinary_arguments_are_taken() -> None:
    assert check_arguments("-ef -o pid=PID,comm") == "-ef -o pid=PID,comm"
