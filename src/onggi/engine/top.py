"""`docker top`: the host's ps, of the container's processes only. The image needs no ps of its own."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from onggi.errors import InvalidArgument, OnggiError

_TIMEOUT_S: Final = 10.0
_RENAMED_COLUMN: Final = re.compile(r"\s(\S*)=\s*(PID\S*)")


class _PsFailed(OnggiError):
    """It didn't take its arguments."""


@dataclass(frozen=True, slots=True)
class Top:
    """Titles of ps's columns, and a row for each process."""

    titles: list[str]
    processes: list[list[str]]


async def top(pids: Collection[int], ps_args: str) -> Top:
    """Run ps with `ps_args` (docker's default is -ef) and keep the rows of `pids`.

    Raises InvalidArgument for a column that may not be, OnggiError when ps doesn't take the arguments or shows no PID.
    Cancelled: ps is killed.
    """
    words = check_arguments(ps_args).split()
    try:
        # -q asks the kernel for these processes alone; it doesn't go with all of ps's other selections (as docker).
        output = await _ps([*words, "-q" + ",".join(map(str, pids))])
    except _PsFailed:
        output = await _ps(words)
    return parse(output, pids)


def check_arguments(ps_args: str) -> str:
    """Raises InvalidArgument when another column is given the title PID: rows are found by it."""
    for match in _RENAMED_COLUMN.finditer(f" {ps_args}"):
        if match[1] != "pid":
            raise InvalidArgument(f'specifying "{match[1]}={match[2]}" is not allowed')
    return ps_args


def parse(output: str, pids: Collection[int]) -> Top:
    """Output of ps as titles and rows; the last column keeps its spaces. Raises OnggiError without a PID column."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise OnggiError("Couldn't find PID field in ps output")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    processes = []
    for line in lines[1:]:
        fields = line.split(maxsplit=len(titles) - 1)
        if len(fields) > column and fields[column] in wanted:
            processes.append([field.rstrip() for field in fields])
    return Top(titles, processes)


def parent_of(pid: int) -> int:
    """0 for a process that has gone. proc_pid_stat(5): the name in parentheses may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


async def _ps(words: list[str]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            "ps",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # COLUMNS cuts its lines, PS_FORMAT changes its columns, and so do others (ps(1)).
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )
    except FileNotFoundError:
        raise OnggiError("top needs ps on the host (package procps)") from None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, errors = await process.communicate()
    except BaseException:
        process.kill()
        raise
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip().partition("\n")[0]
        raise _PsFailed(f"ps: {said}")
    return output.decode(errors="replace")
