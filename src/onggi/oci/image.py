"""Image configs: how an image is run, what it is made of and how it came to be.

Names in JSON are Go's, as docker and the image-spec (config.md) write them. Docker's own fields (Healthcheck, OnBuild,
Shell…) stand beside the specified ones; fields that nobody here knows survive decoding and encoding.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from onggi.errors import InvalidArgument
from onggi.oci.digest import DigestField
from onggi.oci.platform import Platform

CONFIG_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of a config. The largest that real builds make (thousands of history lines) are below 1 MiB."""


class HealthConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """HEALTHCHECK; durations are nanoseconds, 0 means inherit the default."""

    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """What a container made from the image starts with. Lists and maps may be null on the wire, as Go writes them."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step; `empty_layer` steps have no entry in `diff_ids`. `created` is RFC 3339 as it came."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class RootFS(msgspec.Struct, frozen=True):
    """Layers by the digest of their uncompressed tar, lowest first."""

    type: str = "layers"
    diff_ids: list[DigestField] = []


class ImageConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The document whose digest is the image's id in docker's classic sense."""

    architecture: str = ""
    os: str = ""
    rootfs: RootFS = msgspec.field(default_factory=RootFS)
    config: RunConfig | None = None
    created: str | None = None
    author: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: list[str] | None = msgspec.field(default=None, name="os.features")
    history: list[History] | None = None
    extra: dict[str, msgspec.Raw] = {}
    """Top-level fields that are not ours, as they came (docker_version, container_config, moby.buildkit.…)."""

    @property
    def platform(self) -> Platform:
        return Platform(self.architecture, self.os, self.os_version, list(self.os_features or []), self.variant)

    @property
    def run(self) -> RunConfig:
        """`config`, or an empty one."""
        return self.config or RunConfig()


_OURS: Final = frozenset(field.encode_name for field in msgspec.structs.fields(ImageConfig)) - {"extra"}
_DECODER: Final = msgspec.json.Decoder(ImageConfig)
_FIELDS_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_image_config(data: bytes) -> ImageConfig:
    """Raises InvalidArgument on what is no image config."""
    if len(data) > CONFIG_LIMIT:
        raise InvalidArgument(f"image config is larger than {CONFIG_LIMIT} bytes")
    try:
        fields = _FIELDS_DECODER.decode(data)
        # A document with a field of this name would otherwise choose what `extra` holds.
        fields.pop("extra", None)
        config = _DECODER.decode(msgspec.json.encode({name: raw for name, raw in fields.items() if name in _OURS}))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"image config invalid: {error}") from error
    if config.rootfs.type != "layers":
        raise InvalidArgument(f"image config invalid: rootfs of type {config.rootfs.type!r}")
    # Copied: a Raw otherwise keeps the whole document alive.
    extra = {name: raw.copy() for name, raw in fields.items() if name not in _OURS}
    return msgspec.structs.replace(config, extra=extra)


def encode_image_config(config: ImageConfig) -> bytes:
    """The bytes to store; the same config gives the same bytes. Unknown fields come last."""
    fields: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(config, extra={}))
    # The specification requires it also when there is no layer.
    fields["rootfs"] = {"type": config.rootfs.type, "diff_ids": list(config.rootfs.diff_ids)}
    return msgspec.json.encode(fields | config.extra)
