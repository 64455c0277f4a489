"""A Dockerfile read for each platform that is wanted: its checks, its base images, its plans. Knows nothing of how they are run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from onggi.build.checks import Checker, Finding, check_file, parse_check_options
from onggi.build.dockerfile import Dockerfile, Stage, parse_dockerfile
from onggi.build.errors import BuildFailed, DockerfileError
from onggi.build.plan import Kind, Origin, Plan
from onggi.build.planning import Planning
from onggi.build.syntax import check_syntax
from onggi.build.together import together
from onggi.build.vertices import Location, Warned
from onggi.errors import OnggiError

if TYPE_CHECKING:
    from onggi.build.bases import Bases
    from onggi.build.definition import Definition
    from onggi.build.request import Request
    from onggi.build.vertices import Progress
    from onggi.oci.image import ImageConfig
    from onggi.oci.platform import Platform


class Frontend:
    """Of one build."""

    def __init__(self, request: Request, progress: Progress, definition: Definition, bases: Bases) -> None:
        self._request, self._progress, self._definition, self._bases = request, progress, definition, bases
        self.findings: list[Finding] = []

    async def plans(self, *, every_stage: bool = False) -> list[Plan]:
        """One for each platform. `every_stage`: also those that the target doesn't need, for who only checks.

        Raises BuildFailed, DockerfileError with the place.
        """
        dockerfile = await self.dockerfile()
        platforms = self._request.options.wanted_platforms
        checker = self._checker(dockerfile)
        starts = [(stage.start, stage.instructions) for stage in dockerfile.stages]
        check_file(checker, dockerfile.global_args, starts, dockerfile.empty_continuations)
        several = len(platforms) > 1
        return [
            await self._plan(dockerfile, platform, checker, several=several, every=every_stage)
            for platform in platforms
        ]

    async def dockerfile(self) -> Dockerfile:
        """Raises DockerfileError, OtherFrontend."""
        check_syntax(self._definition.file.data, self._request.options.build_args)
        try:
            dockerfile = await asyncio.to_thread(parse_dockerfile, self._definition.file.data)
        except DockerfileError as error:
            if error.line:
                error.location = Location(self._definition.file, error.line, error.last)
            raise
        return dockerfile

    def _checker(self, dockerfile: Dockerfile) -> Checker:
        given = self._request.options.build_args.get("BUILDKIT_DOCKERFILE_CHECK")
        options = parse_check_options(given or dockerfile.directives.get("check", ""))

        def heard(finding: Finding) -> None:
            self.findings.append(finding)
            location = Location(self._definition.file, finding.first, finding.last)
            detail = (finding.rule.description,)
            self._progress.warn(Warned(finding.rule.name, finding.message, detail, finding.rule.url, location))

        return Checker(options, heard=heard)

    async def _plan(
        self, dockerfile: Dockerfile, platform: Platform, checker: Checker, *, several: bool, every: bool
    ) -> Plan:
        definition = self._definition
        planning = Planning(
            dockerfile, self._request.options, platform, checker,
            file=definition.file, main=definition.main, several=several, every_stage=every,
        )  # fmt: skip
        planning.ignore = definition.ignore
        while missing := planning.bases():
            async with together() as group:
                tasks = [group.create_task(self._config(stage, origin)) for stage, origin in missing]
            for (stage, _), task in zip(missing, tasks, strict=True):
                planning.resolved(stage, task.result())
        return planning.plan()

    async def _config(self, stage: Stage, origin: Origin) -> ImageConfig | None:
        """Of a base image; None for what has none."""
        if origin.kind is not Kind.IMAGE:
            return None
        try:
            return (await self._bases.image(origin)).config
        except BuildFailed as error:
            error.location = error.location or self._at(stage)
            raise
        except OnggiError as error:
            error.location = self._at(stage)  # type: ignore[attr-defined]
            raise

    def _at(self, stage: Stage) -> Location:
        return Location(self._definition.file, stage.start.line, stage.start.last)
