"""A whole Dockerfile: global ARGs, then stages. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from onggi.build.errors import DockerfileError
from onggi.build.instructions import Arg, From, Instruction
from onggi.build.lines import split_lines
from onggi.build.parse import parse_line
from onggi.build.suggest import suggestion
from onggi.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Stage:
    """FROM and what follows it. `number` counts from 0."""

    number: int
    start: From
    instructions: list[Instruction] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.start.name


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """`escape` and `directives` are from its top; `empty_continuations` lines that a check names."""

    global_args: list[Arg]
    stages: list[Stage]
    escape: str
    directives: dict[str, str]
    empty_continuations: list[int]

    def find(self, name: str, before: int) -> Stage | None:
        """The stage that `name` means in stage `before`: the nearest earlier one of this name, or by its number."""
        for stage in reversed(self.stages[:before]):
            if stage.name and stage.name == name.lower():
                return stage
        if name.isascii() and name.isdigit() and len(name) < 6 and int(name) < before:
            return self.stages[int(name)]
        return None

    def named(self, name: str) -> Stage | None:
        """The last stage of this name, wherever it is."""
        found = [stage for stage in self.stages if stage.name and stage.name == name.lower()]
        return found[-1] if found else None

    def target(self, name: str) -> Stage:
        """The last stage, or the one that is asked for. Raises InvalidArgument in docker's words."""
        if not name:
            return self.stages[-1]
        found = self.find(name, len(self.stages))
        if found is None:
            hint = suggestion(name.lower(), [stage.name for stage in self.stages if stage.name])
            raise InvalidArgument(f'target stage "{name}" could not be found{hint}')
        return found


def parse_dockerfile(data: bytes) -> Dockerfile:
    """Raises DockerfileError."""
    found = split_lines(data)
    global_args: list[Arg] = []
    stages: list[Stage] = []
    for line in found.lines:
        instruction = parse_line(line, found.escape)
        if isinstance(instruction, From):
            stages.append(Stage(len(stages), instruction))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif isinstance(instruction, Arg):
            global_args.append(instruction)
        else:
            raise DockerfileError("no build stage in current context", line.first, spoken=False)
    if not stages:
        raise DockerfileError("no build stage in current context")
    return Dockerfile(global_args, stages, found.escape, found.directives, found.empty_continuations)
