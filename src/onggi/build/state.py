"""A stage as far as it has come: config, layers, history. Every change makes the image that it would be now."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from onggi.oci.digest import Digest, sha256_of
from onggi.oci.image import History, ImageConfig, RootFS, RunConfig, encode_image_config
from onggi.oci.platform import Platform


def now_text() -> str:
    """RFC 3339 with nanoseconds, as Go writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


@dataclass(frozen=True, slots=True)
class StageState:
    """`image_id` is the digest of `document()`, "" for scratch. `args` are the ARGs declared so far."""

    platform: Platform
    config: RunConfig = field(default_factory=RunConfig)
    layers: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    author: str = ""
    created: str = ""
    image_id: str = ""
    args: dict[str, str | None] = field(default_factory=dict)
    has_command: bool = False
    """CMD was given in this stage: an ENTRYPOINT after it keeps it."""

    @property
    def short_id(self) -> str:
        return self.image_id.removeprefix("sha256:")[:12]

    @property
    def env(self) -> dict[str, str]:
        return {name: value for name, _, value in (word.partition("=") for word in self.config.env or ())}

    def variables(self) -> dict[str, str]:
        """What words in this stage may name: ARGs with a value, and ENV, which wins."""
        return {**{name: value for name, value in self.args.items() if value is not None}, **self.env}

    def with_config(self, **changes: Any) -> StageState:
        return replace(self, config=msgspec.structs.replace(self.config, **changes))

    def with_env(self, pairs: list[tuple[str, str]]) -> StageState:
        """Names that are there keep their place."""
        words = list(self.config.env or ())
        for name, value in pairs:
            at = next((at for at, word in enumerate(words) if word.partition("=")[0] == name), None)
            if at is None:
                words.append(f"{name}={value}")
            else:
                words[at] = f"{name}={value}"
        return self.with_config(env=words)

    def committed(self, created_by: str, created: str, layer: Digest | None) -> StageState:
        """With one more step in its history. Without `layer` the step has changed no file."""
        step = History(
            created=created, created_by=created_by, author=self.author, empty_layer=layer is None, comment=""
        )
        after = replace(
            self,
            layers=self.layers if layer is None else (*self.layers, layer),
            history=(*self.history, step),
            created=created,
            # As docker: the image that this step was made on.
            config=msgspec.structs.replace(self.config, image=self.image_id),
        )
        return replace(after, image_id=sha256_of(encode_image_config(after.document())))

    def document(self) -> ImageConfig:
        return ImageConfig(
            architecture=self.platform.architecture,
            os=self.platform.os,
            variant=self.platform.variant,
            rootfs=RootFS(diff_ids=list(self.layers)),
            config=self.config,
            created=self.created or None,
            author=self.author,
            history=list(self.history),
        )
