"""From a Dockerfile to a plan, for one platform: what runs where, with all its variables replaced.

Pure: the configs of base images are given. `Planning.bases` names those that are needed, `resolved` takes one and may make more
of them needed (its ONBUILD triggers), `plan` does the rest.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace

from onggi.build.arguments import GlobalArguments, platform_arguments
from onggi.build.checks import Checker, Rule, check_missing
from onggi.build.dockerfile import Dockerfile, Stage
from onggi.build.errors import BuildFailed, DockerfileError
from onggi.build.graph import Graph
from onggi.build.instructions import Copy, Instruction, OnBuild, Run, Workdir
from onggi.build.options import BuildOptions
from onggi.build.parse import parse_trigger
from onggi.build.plan import MAIN, Kind, Origin, Plan, PlannedStage
from onggi.build.shellwords import Lexer
from onggi.build.stages import StagePlanner
from onggi.build.state import StageState, from_image
from onggi.build.vertices import Location, SourceFile
from onggi.errors import InvalidArgument
from onggi.ignore import IgnoreRules
from onggi.oci.image import ImageConfig, RunConfig
from onggi.oci.platform import Platform, host_platform, parse_platform
from onggi.oci.reference import parse_reference


class Planning:
    """One Dockerfile for one platform. `several`: the build has others, and names say which one a step is for."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        options: BuildOptions,
        platform: Platform,
        checker: Checker,
        *,
        file: SourceFile,
        main: Origin = MAIN,
        several: bool = False,
        every_stage: bool = False,
    ) -> None:
        self.dockerfile, self.options, self.platform, self.checker = dockerfile, options, platform, checker
        self.several, self.main, self._file = several, main, file
        self.lexer = Lexer(dockerfile.escape)
        self.ignore: IgnoreRules | None = None
        target = dockerfile.target(options.target)
        named = options.target or target.name
        self.arguments = GlobalArguments(
            options.build_args, platform_arguments(host_platform(), platform, named, options.build_args)
        )
        self._check_defaults(named)
        for each in dockerfile.global_args:
            self.arguments.declare(each, self.lexer)
        self.epoch = self._epoch()
        self.platforms: dict[int, Platform] = {}
        self.graph = Graph(dockerfile, self._bases(), options.contexts)
        self._target = target
        self._every_stage = every_stage
        self._stages = self._needed()
        self._configs: dict[int, ImageConfig | None] = {}

    def bases(self) -> list[tuple[Stage, Origin]]:
        """Stages whose base isn't known yet and is no other stage."""
        found: list[tuple[Stage, Origin]] = []
        for stage in self._stages:
            if stage.number in self._configs:
                continue
            origin = self.graph.base(stage, self.platforms[stage.number])
            if origin.kind is not Kind.STAGE:
                found.append((stage, origin))
        return found

    def resolved(self, stage: Stage, config: ImageConfig | None) -> None:
        """`config` None: the base has none (scratch, a directory). Raises BuildFailed, DockerfileError."""
        self._configs[stage.number] = config
        triggers = (config.run.on_build or []) if config else []
        if triggers:
            self.graph.triggers[stage.number] = [self._trigger(text, stage) for text in triggers]
            self._stages = self._needed()

    def plan(self) -> Plan:
        """Holds: `bases` is empty. Raises BuildFailed, DockerfileError."""
        self._inherit_triggers()
        planned: dict[int, PlannedStage] = {}
        follow: dict[str, list[str]] = {}
        single = len(self.dockerfile.stages) == 1 and not self._reads_images()
        for stage in self._stages:
            origin = self.graph.base(stage, self.platforms[stage.number])
            state = self._start(stage, origin, planned)
            made = PlannedStage(stage.number, stage.name or f"stage-{stage.number}", origin, "", state)
            namer = Namer(self._shown(stage, state.platform), "" if single else made.name, self._total(stage, origin))
            if origin.kind not in (Kind.STAGE, Kind.SCRATCH):
                made.base_name = namer.name(f"FROM {_shown_base(origin)}", StageState(state.platform))
            made.lines.append((stage.start.text, None))
            planned[stage.number] = made
            if not self.graph.is_replaced(stage, self.platforms[stage.number]):
                StagePlanner(self, stage, made, namer, follow).run()
        result = planned[self._target.number]
        if self.options.labels:
            labels = {**(result.state.config.labels or {}), **self.options.labels}
            result.state = result.state.with_config(labels=labels)
        self.checker.raise_errors()
        return Plan(
            platform=self.platform,
            stages=planned,
            target=self._target.number,
            follow=_follow(follow),
            global_lines=[arg.text for arg in self.dockerfile.global_args],
            epoch=self.epoch,
            unused_args=self.arguments.unused(),
        )

    def locate(self, error: BuildFailed | InvalidArgument, at: Instruction) -> Exception:
        """The error with the place where it happened, if it has none."""
        failed = error if isinstance(error, BuildFailed | DockerfileError) else BuildFailed(str(error))
        if failed.location is None:
            failed.location = Location(self._file, at.line, at.last)
        return failed

    def _bases(self) -> dict[int, str]:
        variables = self.arguments.variables()
        names: dict[int, str] = {}
        for stage in self.dockerfile.stages:
            expansion = self.lexer.expand(stage.start.base, variables)
            self._check_from(stage, expansion.missing)
            if not expansion.text:
                raise DockerfileError(f"base name ({stage.start.base}) should not be blank", 0)
            names[stage.number] = expansion.text
            self.platforms[stage.number] = self._stage_platform(stage, variables)
        return names

    def _stage_platform(self, stage: Stage, variables: Mapping[str, str]) -> Platform:
        written = stage.start.platform
        if not written:
            return self.platform
        expansion = self.lexer.expand(written, variables)
        self._check_from(stage, expansion.missing)
        run = self.checker.run
        if (
            expansion.used == {"TARGETPLATFORM"}
            and not expansion.missing
            and expansion.text == variables["TARGETPLATFORM"]
        ):
            run(
                Rule.RedundantTargetPlatform,
                stage.start,
                f"Setting platform to predefined {written} in FROM is redundant as this is the default behavior",
            )
        if not expansion.text:
            raise InvalidArgument(f"empty platform value from expression {written}")
        try:
            platform = parse_platform(expansion.text)
        except InvalidArgument as error:
            raise InvalidArgument(f"failed to parse platform {written}: {error}") from None
        constant = not expansion.used and not expansion.missing
        if constant and platform.os not in stage.name and platform.architecture not in stage.name:
            run(
                Rule.FromPlatformFlagConstDisallowed,
                stage.start,
                f'FROM --platform flag should not use constant value "{expansion.text}"',
            )
        return platform

    def _check_from(self, stage: Stage, missing: set[str]) -> None:
        declared = {name for arg in self.dockerfile.global_args for name, _ in arg.args}
        known = declared | set(self.arguments.variables())
        check_missing(self.checker, stage.start, missing - known, known, base=True)

    def _check_defaults(self, target: str) -> None:
        """Whether FROM lines name an image also when nobody gives an argument."""
        plain = GlobalArguments({}, platform_arguments(host_platform(), self.platform, target, {}))
        try:
            for each in self.dockerfile.global_args:
                plain.declare(each, self.lexer)
            names = [self.lexer.word(stage.start.base, plain.variables()) for stage in self.dockerfile.stages]
        except InvalidArgument:
            return
        for stage, name in zip(self.dockerfile.stages, names, strict=True):
            try:
                parse_reference(name)
            except InvalidArgument:
                self.checker.run(
                    Rule.InvalidDefaultArgInFrom,
                    stage.start,
                    f"Default value for ARG {stage.start.base} results in empty or invalid base image name",
                )

    def _epoch(self) -> int | None:
        text = (
            self.options.build_args.get("SOURCE_DATE_EPOCH") or self.arguments.declared.get("SOURCE_DATE_EPOCH") or ""
        )
        if not text:
            return None
        if not text.removeprefix("-").isdigit() or len(text) > 12:
            raise InvalidArgument(f"invalid SOURCE_DATE_EPOCH: {text}")
        return int(text)

    def _needed(self) -> list[Stage]:
        needed = self.graph.needed(self._target)
        return list(self.dockerfile.stages) if self._every_stage else needed

    def _trigger(self, text: str, stage: Stage) -> Instruction:
        """What stands in front of the stage; where it is in the file is its FROM."""
        made = parse_trigger(text)
        return replace(made, line=stage.start.line, last=stage.start.last)

    def _inherit_triggers(self) -> None:
        """A stage that continues another one of the file runs the triggers which that one declares."""
        for stage in self._stages:
            origin = self.graph.base(stage, self.platforms[stage.number])
            if origin.kind is Kind.STAGE and stage.number not in self.graph.triggers:
                below = self.dockerfile.stages[origin.number]
                texts = [each.expression for each in below.instructions if isinstance(each, OnBuild)]
                if texts:
                    self.graph.triggers[stage.number] = [self._trigger(text, stage) for text in texts]

    def _start(self, stage: Stage, origin: Origin, planned: Mapping[int, PlannedStage]) -> StageState:
        platform = self.platforms[stage.number]
        if origin.kind is Kind.STAGE:
            below = planned[origin.number].state
            return replace(below.with_config(on_build=None), set_here={})
        config = self._configs.get(stage.number)
        if config is None:
            # BuildKit's image of nothing (dockerfile2llb/image.go).
            return (
                StageState(platform, RunConfig(working_dir="/"))
                if origin.kind is Kind.SCRATCH
                else StageState(platform)
            )
        if (config.platform.os, config.platform.architecture) != (platform.os, platform.architecture):
            self.checker.run(
                Rule.InvalidBaseImagePlatform,
                stage.start,
                f'Base image {stage.start.base} was pulled with platform "{config.platform}", expected "{platform}" for current build',
            )
        return from_image(config).with_config(on_build=None)

    def _reads_images(self) -> bool:
        """Whether a COPY or a mount reads an image: BuildKit then counts a stage for it, and names stages. Triggers come too late."""
        for stage in self._stages:
            for each in stage.instructions:
                if isinstance(each, Copy) and each.origin:
                    return True
                if isinstance(each, Run) and each.mounts:
                    return True
        return False

    def _total(self, stage: Stage, origin: Origin) -> int:
        steps = sum(isinstance(each, Run | Copy | Workdir) for each in stage.instructions)
        # BuildKit counts all triggers, also those that make no layer.
        triggers = len(self.graph.triggers.get(stage.number, ()))
        return steps + triggers + (origin.kind not in (Kind.STAGE, Kind.SCRATCH))

    def _shown(self, stage: Stage, platform: Platform) -> str:
        del stage
        return str(platform) if self.several else ""


class Namer:
    """Names of vertices as people know them: `[builder 2/5] RUN make`."""

    def __init__(self, platform: str, stage: str, total: int) -> None:
        self._platform, self._stage, self._total = platform, stage, total
        self._at = 0

    def name(self, text: str, state: StageState, *, triggered: bool = False) -> str:
        if not self._total:
            return text
        self._at += 1
        width = int(1 + math.log10(self._total))
        platform = self._platform
        if platform and (target := state.environment.get("TARGETPLATFORM")) and target != platform:
            platform += (
                f"->{target.partition('/')[2] if target.partition('/')[0] == platform.partition('/')[0] else target}"
            )
        words = " ".join(word for word in (platform, self._stage) if word)
        prefix = f"[{words} " if words else "["
        return f"{prefix}{self._at:{width}d}/{self._total}] {'ONBUILD ' if triggered else ''}{text}"


def _shown_base(origin: Origin) -> str:
    if origin.kind is Kind.IMAGE:
        try:
            return str(parse_reference(origin.name))
        except InvalidArgument:
            return origin.name
    return origin.name


def _follow(found: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Without duplicates; a whole directory makes single paths of it superfluous."""
    result: dict[str, list[str]] = {}
    for name, paths in found.items():
        clean = sorted({posixpath.normpath(f"/{path}").lstrip("/") or "." for path in paths})
        result[name] = [] if "." in clean else clean
    return result
