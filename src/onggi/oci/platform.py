"""Platforms: which of an image's variants runs here.

Names are Go's (GOOS, GOARCH); normalisation and order of preference are containerd/platforms'.
"""

from __future__ import annotations

import os
import re
from typing import Final

import msgspec

from onggi.errors import InvalidArgument

_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+")

_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    architecture: str = ""
    os: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: list[str] = msgspec.field(default_factory=list, name="os.features")
    variant: str = ""

    def normalised(self) -> Platform:
        architecture, variant = self.architecture.lower(), self.variant.lower()
        architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
        variant = variant or implied
        if architecture == "arm":
            variant = {"": "v7", "7": "v7", "6": "v6", "5": "v5", "8": "v8"}.get(variant, variant)
        elif (architecture, variant) in {("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")}:
            variant = ""
        system = {"macos": "darwin"}.get(self.os.lower(), self.os.lower())
        return msgspec.structs.replace(self, architecture=architecture, os=system, variant=variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def parse_platform(text: str) -> Platform:
    """`linux/arm64/v8`, `linux`, `arm64`: what is missing is this host's. Raises InvalidArgument with docker's words."""
    parts = text.split("/")
    if not 1 <= len(parts) <= 3 or not all(_WORD.fullmatch(part) for part in parts):
        raise InvalidArgument(f'"{text}": invalid platform specifier')
    here = host_platform()
    if len(parts) == 1:
        word = parts[0].lower()
        if word in {"linux", "windows", "darwin", "freebsd", "macos"}:
            return msgspec.structs.replace(here, os=word).normalised()
        if word in _ARCHITECTURES or word in {
            "amd64",
            "arm64",
            "arm",
            "386",
            "ppc64le",
            "s390x",
            "riscv64",
            "mips64le",
            "loong64",
        }:
            return Platform(architecture=word, os=here.os).normalised()
        raise InvalidArgument(f'"{text}": unknown operating system or architecture')
    return Platform(architecture=parts[1], os=parts[0], variant=parts[2] if len(parts) == 3 else "").normalised()


def host_platform() -> Platform:
    system = os.uname()
    return Platform(architecture=system.machine, os=system.sysname).normalised()


def preference(wanted: Platform, offered: Platform) -> int | None:
    """How well `offered` does for `wanted`: 0 is exactly it, more is worse, None doesn't run.

    arm runs its older variants, arm64 runs 32-bit arm as a last choice, amd64 runs lower levels (v3 runs v1). Docker
    also lets amd64 take 386; we do so too.
    """
    wanted, offered = wanted.normalised(), offered.normalised()
    if wanted.os != offered.os:
        return None
    if wanted.architecture == offered.architecture:
        if wanted.variant == offered.variant:
            return 0
        have, need = _level(wanted), _level(offered)
        return have - need if need <= have else None
    steps = {("arm64", "arm"): 20, ("amd64", "386"): 20}
    return steps.get((wanted.architecture, offered.architecture))


def _level(platform: Platform) -> int:
    digits = platform.variant.removeprefix("v")
    if digits.isascii() and digits.isdigit():
        return int(digits)
    return {"arm64": 8, "arm": 7, "amd64": 1}.get(platform.architecture, 0) if not digits else 0
