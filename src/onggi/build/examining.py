"""What a Dockerfile says without building it: its checks, what its target takes, its targets. Documents as BuildKit's subrequests.

Shapes: BuildKit frontend/subrequests/{lint,outline,targets}; clients print them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from onggi.build.checks import Finding
from onggi.build.dockerfile import Dockerfile, Stage
from onggi.build.instructions import Arg, From, Instruction
from onggi.build.plan import Plan, RunStepPlan
from onggi.build.runmounts import RunMount
from onggi.build.shellwords import Lexer
from onggi.errors import OnggiError

if TYPE_CHECKING:
    from onggi.build.vertices import Location, SourceFile


class _Position(msgspec.Struct, frozen=True, omit_defaults=True):
    line: int = 0


class _Range(msgspec.Struct, frozen=True):
    start: _Position
    end: _Position


class Place(msgspec.Struct, frozen=True):
    """Lines of the one source."""

    ranges: list[_Range]


class _Warning(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    rule_name: str
    description: str = ""
    url: str = ""
    detail: str = ""
    location: Place | None = None


class _Source(msgspec.Struct, frozen=True):
    filename: str
    language: str
    data: bytes


class _Error(msgspec.Struct, frozen=True):
    message: str
    location: Place


class Lint(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    warnings: list[_Warning] | None
    sources: list[_Source]
    build_error: _Error | None = None


class _Named(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    description: str = ""
    value: str = ""
    required: bool = False
    location: Place | None = None


class Outline(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str = ""
    description: str = ""
    args: list[_Named] = []
    secrets: list[_Named] = []
    ssh: list[_Named] = []
    sources: list[bytes] = []


class _Target(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str = ""
    default: bool = False
    description: str = ""
    base: str = ""
    platform: str = ""
    location: Place | None = None


class Targets(msgspec.Struct, frozen=True):
    targets: list[_Target]
    sources: list[bytes]


def lint(file: SourceFile, findings: Iterable[Finding], error: OnggiError | None) -> Lint:
    """`error` is what has kept the rest of the file from being looked at."""
    warnings = [
        _Warning(each.rule.name, each.rule.description, each.rule.url, each.text, _place(each.first, each.last))
        for each in findings
    ]
    failed = None
    if error is not None:
        location: Location | None = getattr(error, "location", None)
        place = _place(location.first, location.last) if location else Place([])
        failed = _Error(str(error), place)
    return Lint(warnings or None, [_Source(file.name, file.language, file.data)], failed)


def targets(file: SourceFile, dockerfile: Dockerfile) -> Targets:
    last = len(dockerfile.stages) - 1
    found = [
        _Target(
            name=stage.name,
            default=stage.number == last,
            description=described(stage.start, stage.name),
            base=stage.start.base,
            platform=stage.start.platform,
            location=_at(stage.start),
        )
        for stage in dockerfile.stages
    ]
    return Targets(found, [file.data])


def outline(file: SourceFile, dockerfile: Dockerfile, plan: Plan) -> Outline:
    """What the plan's target takes from whoever builds it."""
    stages = [dockerfile.stages[number] for number in plan.stages]
    target = dockerfile.stages[plan.target]
    mounts = [
        (mount, step.at)
        for stage in plan.stages.values()
        for step in stage.steps
        if isinstance(step, RunStepPlan)
        for mount, _ in step.mounts
    ]
    return Outline(
        name=target.name,
        description=described(target.start, target.name),
        args=_args(dockerfile, stages, plan),
        secrets=_mounted(mounts, "secret"),
        ssh=_mounted(mounts, "ssh"),
        sources=[file.data],
    )


def described(at: Instruction, name: str) -> str:
    """The comment right above an ARG or FROM that begins with its name."""
    return next((line[len(name) + 1 :] for line in at.comments if name and line.startswith(f"{name} ")), "")


def _args(dockerfile: Dockerfile, stages: Sequence[Stage], plan: Plan) -> list[_Named]:
    """ARGs of the stages, and global ones that those or their FROM lines name."""
    values = {name: value or "" for stage in plan.stages.values() for name, value in stage.state.args}
    named: set[str] = set()
    found: dict[str, _Named] = {}
    for stage in stages:
        named |= _used(stage.start, Lexer(dockerfile.escape))
        for arg in (each for each in stage.instructions if isinstance(each, Arg)):
            for name, default in arg.args:
                named.add(name)
                if default is not None or not any(name == known for g in dockerfile.global_args for known, _ in g.args):
                    found.setdefault(name, _Named(name, described(arg, name), values.get(name, ""), location=_at(arg)))
    for arg in reversed(dockerfile.global_args):
        for name, default in arg.args:
            if name in named:
                found.setdefault(
                    name, _Named(name, described(arg, name), values.get(name) or default or "", location=_at(arg))
                )
                named |= Lexer(dockerfile.escape).expand(default or "", {}).missing
    return sorted(found.values(), key=lambda each: each.location.ranges[0].start.line if each.location else 0)


def _used(start: From, lexer: Lexer) -> set[str]:
    return lexer.expand(start.base, {}).missing | lexer.expand(start.platform, {}).missing


def _mounted(mounts: Iterable[tuple[RunMount, Instruction]], kind: str) -> list[_Named]:
    found: dict[str, _Named] = {}
    for mount, at in mounts:
        if mount.kind == kind:
            found.setdefault(mount.identifier, _Named(mount.identifier, required=mount.required, location=_at(at)))
    return list(found.values())


def _at(instruction: Instruction) -> Place:
    return _place(instruction.line, instruction.last)


def _place(first: int, last: int) -> Place:
    return Place([_Range(_Position(first), _Position(last))])
