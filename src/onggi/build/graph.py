"""The graph of a Dockerfile: what each name means, which stages a target needs, and that there is no circle. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onggi.build.dockerfile import Dockerfile, Stage
from onggi.build.errors import BuildFailed, DockerfileError
from onggi.build.gitwords import is_git
from onggi.build.instructions import Copy, Instruction, Run
from onggi.build.plan import SCRATCH, Kind, Origin
from onggi.build.runmounts import origin_of
from onggi.errors import InvalidArgument
from onggi.oci.platform import Platform
from onggi.oci.reference import parse_reference


class Graph:
    """`bases` are the names after FROM, variables replaced; `contexts` the client's named contexts as it wrote them.

    `triggers` are instructions that a base image has put in front of a stage's own (ONBUILD).
    """

    def __init__(self, dockerfile: Dockerfile, bases: Mapping[int, str], contexts: Mapping[str, str]) -> None:
        self._dockerfile, self._bases = dockerfile, bases
        self._contexts = contexts
        self.triggers: dict[int, list[Instruction]] = {}

    def instructions(self, stage: Stage) -> Iterator[Instruction]:
        """Triggers of the base first."""
        yield from self.triggers.get(stage.number, ())
        yield from stage.instructions

    def base(self, stage: Stage, platform: Platform) -> Origin:
        """What FROM means. A context of the stage's own name stands for the whole stage."""
        replaced = self.named_context(stage.name, platform) if stage.name else None
        if replaced is not None:
            return replaced
        name = self._bases[stage.number]
        earlier = self._earlier(stage)
        if earlier is not None:
            return Origin(Kind.STAGE, number=earlier.number)
        return self.outside(name, platform)

    def is_replaced(self, stage: Stage, platform: Platform) -> bool:
        """Whether a named context stands for the stage: its instructions then mean nothing."""
        return bool(stage.name) and self.named_context(stage.name, platform) is not None

    def outside(self, name: str, platform: Platform) -> Origin:
        """A name that is no stage: nothing, a named context, or an image."""
        if name == "scratch":
            return SCRATCH
        return self.named_context(name, platform) or Origin(Kind.IMAGE, name, platform=platform)

    def source(self, name: str, stage: Stage, platform: Platform, *, mount: bool = False) -> Origin:
        """What `--from=name` (`from=name` of a `mount`) means in `stage`. Raises BuildFailed."""
        found = self._stage_of(name)
        if found is None:
            if not mount:
                _check_number(name)
            return self.outside(name, platform)
        if found.number >= stage.number:
            raise BuildFailed(
                f'cannot {"mount" if mount else "copy"} from stage "{name}", it needs to be defined before current stage "{stage.name or f"stage-{stage.number}"}"'
            )
        return Origin(Kind.STAGE, number=found.number)

    def named_context(self, name: str, platform: Platform) -> Origin | None:
        """Raises InvalidArgument for a kind of context that isn't known."""
        if not self._contexts or name.lower() in ("scratch", "context"):
            return None
        try:
            short = parse_reference(name).familiar().removesuffix(":latest")
        except InvalidArgument:
            return None
        text = self._contexts.get(f"{short}::{platform}", self._contexts.get(short))
        return None if text is None else context_origin(text, platform)

    def needed(self, target: Stage) -> list[Stage]:
        """In the order of the file. Raises DockerfileError for a circle."""
        self._check_circles()
        found: set[int] = set()
        waiting = [target.number]
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                waiting += [other.number for other in self._reads(self._dockerfile.stages[number])]
        return [self._dockerfile.stages[number] for number in sorted(found)]

    def _earlier(self, stage: Stage) -> Stage | None:
        return self._dockerfile.find(self._bases[stage.number], stage.number)

    def _stage_of(self, name: str) -> Stage | None:
        found = self._dockerfile.named(name)
        if found is None and name.isascii() and name.isdigit() and int(name[:6]) < len(self._dockerfile.stages):
            found = self._dockerfile.stages[int(name)]
        return found

    def _reads(self, stage: Stage) -> list[Stage]:
        earlier = self._earlier(stage)
        found = [earlier] if earlier is not None else []
        for instruction in self.instructions(stage):
            _check_origin(instruction)
            if isinstance(instruction, Copy) and self._stage_of(instruction.origin) is None:
                _check_number(instruction.origin)
            found += [other for name in read_names(instruction) if (other := self._stage_of(name)) is not None]
        return found

    def _check_circles(self) -> None:
        done: set[int] = set()

        def visit(stage: Stage, path: Sequence[int]) -> None:
            if stage.number in path:
                name = stage.name or f"stage-{stage.number}"
                raise DockerfileError(f"circular dependency detected on stage: {name}", stage.start.line, spoken=False)
            if stage.number in done:
                return
            for other in self._reads(stage):
                visit(other, (*path, stage.number))
            done.add(stage.number)

        for stage in self._dockerfile.stages:
            visit(stage, ())


def read_names(instruction: Instruction) -> list[str]:
    """What an instruction reads from beside the stage it is in. Pure names, without variables."""
    if isinstance(instruction, Copy) and instruction.origin:
        return [instruction.origin]
    if isinstance(instruction, Run):
        return [name for mount in instruction.mounts if (name := origin_of(mount))]
    return []


def _check_origin(instruction: Instruction) -> None:
    """Raises DockerfileError for a variable where a name must be known before any variable is."""
    if isinstance(instruction, Copy) and "$" in instruction.origin:
        raise DockerfileError(
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
            instruction.line,
            instruction.last,
            spoken=False,
        )


def _check_number(name: str) -> None:
    """Raises BuildFailed when what names no stage is a number: nothing else may be called so."""
    if name.isascii() and name.isdigit():
        raise BuildFailed(f"invalid stage index {name}", classic=f"invalid from flag value {name}: index out of bounds")


def context_origin(text: str, platform: Platform) -> Origin:
    """A named context's value: `docker-image://…`, `local:…`, `input:…`, `oci-layout://…`, a git or http URL. Raises InvalidArgument."""
    scheme, _, rest = text.partition(":")
    match scheme:
        case "docker-image":
            return Origin(Kind.IMAGE, rest.removeprefix("//"), platform=platform)
        case "local":
            return Origin(Kind.LOCAL, rest)
        case "input" | "oci-layout":
            return Origin(Kind.IMAGE, text, platform=platform)
        case _ if is_git(text):
            return Origin(Kind.GIT, text)
        case "http" | "https":
            return Origin(Kind.HTTP, text)
    raise InvalidArgument(f"unsupported context source {scheme} for {text}")
