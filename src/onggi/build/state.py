"""A stage as far as it has come: config, variables, history. Pure; layers are the solver's affair."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from onggi.oci.digest import Digest
from onggi.oci.image import History, ImageConfig, RootFS, RunConfig
from onggi.oci.platform import Platform

COMMENT: Final = "buildkit.dockerfile.v0"
"""In each entry of history that a Dockerfile has made."""

NOT_IN_ENVIRONMENT: Final = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})
"""ARGs that speak to the builder alone (BuildKit's nonEnvArgs)."""


def now_text() -> str:
    """RFC 3339 with nanoseconds, as Go writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def epoch_text(seconds: int) -> str:
    """RFC 3339 as Go writes a whole second. Raises OverflowError, ValueError for a year that has no such form."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class StageState:
    """`environment` is what words of the stage may name and RUN gets: ENV and the ARGs that have a value.

    `args` are the ARGs declared so far, in order; those without a value too. `set_here`: the lines of CMD, ENTRYPOINT and
    HEALTHCHECK of this stage.
    """

    platform: Platform
    config: RunConfig = field(default_factory=RunConfig)
    history: tuple[History, ...] = ()
    author: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    args: tuple[tuple[str, str | None], ...] = ()
    set_here: dict[str, int] = field(default_factory=dict)
    has_workdir: bool = False
    base: ImageConfig | None = None
    """Of the image that the first stage of the chain is FROM: fields that no instruction changes."""

    @property
    def arg_names(self) -> set[str]:
        return {name for name, _ in self.args}

    def with_config(self, **changes: Any) -> StageState:
        return replace(self, config=msgspec.structs.replace(self.config, **changes))

    def with_env(self, pairs: Sequence[tuple[str, str]]) -> StageState:
        """ENV: names that are there keep their place."""
        words = list(self.config.env or ())
        for name, value in pairs:
            at = next((at for at, word in enumerate(words) if word.partition("=")[0] == name), None)
            if at is None:
                words.append(f"{name}={value}")
            else:
                words[at] = f"{name}={value}"
        return replace(self.with_config(env=words), environment={**self.environment, **dict(pairs)})

    def with_arg(self, name: str, value: str | None) -> StageState:
        after = replace(self, args=(*self.args, (name, value)))
        if value is None or name in NOT_IN_ENVIRONMENT:
            return after
        return replace(after, environment={**self.environment, name: value})

    def noted(self, created_by: str, *, layer: bool = False) -> StageState:
        """With one more entry in its history. With `layer` the step has one, perhaps an empty one."""
        entry = History(created_by=created_by, comment=COMMENT, empty_layer=not layer)
        return replace(self, history=(*self.history, entry))

    def told_args(self) -> str:
        """`|2 a=1 b=2 `: the ARGs that a RUN has seen, as history tells them; nothing without any."""
        told = {name: self.environment.get(name, value or "") for name, value in self.args}
        return " ".join([f"|{len(told)}", *(f"{name}={value}" for name, value in told.items()), ""]) if told else ""


def from_image(config: ImageConfig) -> StageState:
    run = config.run
    environment = dict(word.partition("=")[::2] for word in run.env or ())
    return StageState(
        platform=config.platform,
        config=run,
        history=tuple(config.history or ()),
        author=config.author,
        environment=environment,
        base=config,
    )


def document(
    state: StageState, layers: Sequence[Digest], times: Sequence[str], *, platform: Platform, epoch: int | None
) -> ImageConfig:
    """The image's config: `times` are those of `layers` that this build has added, the last ones.

    History gets its times as BuildKit's exporter gives them (exporter/containerimage/writer.go): a step with a layer has the
    layer's, others that of the first new layer, then that of the layer before them. `epoch` stands for all of them.
    """
    base = state.base
    history = _timed(state.history, len(layers) - len(times), times, epoch)
    last = next((entry.created for entry in reversed(history) if entry.created), None)
    return ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        os_version=base.os_version if base else "",
        os_features=base.os_features if base else None,
        rootfs=RootFS(diff_ids=list(layers)),
        config=msgspec.structs.replace(state.config, image=""),
        created=epoch_text(epoch) if epoch is not None else last,
        author=state.author,
        history=history,
    )


def _timed(history: Sequence[History], inherited: int, times: Sequence[str], epoch: int | None) -> list[History]:
    if epoch is not None:
        text = epoch_text(epoch)
        return [entry if entry.created else msgspec.structs.replace(entry, created=text) for entry in history]
    found: list[History] = []
    at = 0
    for each in history:
        entry = each
        if not entry.empty_layer:
            if not entry.created and inherited <= at < inherited + len(times):
                entry = msgspec.structs.replace(entry, created=times[at - inherited])
            at += 1
        found.append(entry)
    created: str | None = None
    missing = False
    for entry in found:
        if entry.created:
            created = entry.created
            if missing:
                break
        else:
            missing = True
    missing = False
    for number, entry in enumerate(found):
        if entry.created:
            created = entry.created if missing else created
            continue
        missing = True
        found[number] = msgspec.structs.replace(entry, created=created)
    return found
