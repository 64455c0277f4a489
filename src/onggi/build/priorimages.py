"""`--cache-from`: images whose configs say which steps made their layers, so that those needn't be made again.

The field is ours, beside BuildKit's of the same purpose: keys of steps are a builder's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from onggi.build.lending import FIELD, Lent
from onggi.errors import OnggiError
from onggi.oci.digest import Digest
from onggi.oci.image import ImageConfig

if TYPE_CHECKING:
    from onggi.images import Images


class _Inline(msgspec.Struct, frozen=True):
    """Keys of the steps that made the last layers, in order."""

    keys: list[str]


class PriorImages:
    """Those of `names` that are here; what can't be read is as if it weren't."""

    def __init__(self, images: Images, names: Sequence[str]) -> None:
        self._known: dict[str, Lent] = {}
        for name in names:
            try:
                self._add(images.resolve(name).config)
            except (OnggiError, msgspec.DecodeError):
                continue

    def find(self, key: str) -> Lent | None:
        return self._known.get(key)

    def _add(self, config: ImageConfig) -> None:
        for key, lent in inline_steps(config).items():
            self._known.setdefault(key, lent)


def inline_steps(config: ImageConfig) -> dict[str, Lent]:
    """The steps that an image says it was made by. Raises msgspec.DecodeError."""
    raw = config.extra.get(FIELD)
    if raw is None:
        return {}
    keys = msgspec.json.decode(raw, type=_Inline).keys
    layers = config.rootfs.diff_ids[-len(keys) :] if keys else []
    times = [entry.created or "" for entry in config.history or () if not entry.empty_layer][-len(keys) :]
    if not len(layers) == len(times) == len(keys):
        return {}
    return {key: Lent(Digest(layer), created) for key, layer, created in zip(keys, layers, times, strict=True)}


def with_keys(config: ImageConfig, keys: Sequence[str]) -> ImageConfig:
    """The config with what `PriorImages` reads."""
    raw = msgspec.Raw(msgspec.json.encode(_Inline(list(keys))))
    return msgspec.structs.replace(config, extra={**config.extra, FIELD: raw}) if keys else config
