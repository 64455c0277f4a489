"""The attributes of the frontend dockerfile.v0 as BuildOptions. Pure.

Source of the names: moby buildkit frontend/dockerui/config.go and attr.go.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from typing import Final

from onggi.build.buildkit.uploading import is_upload
from onggi.build.options import BuildOptions
from onggi.build.runner import StepLimits
from onggi.errors import InvalidArgument
from onggi.oci.platform import parse_platform

_BUILD_ARG: Final = "build-arg:"
_LABEL: Final = "label:"
_CONTEXT: Final = "context:"


def options_of(attrs: Mapping[str, str], *, entitlements: Iterable[str] = ()) -> BuildOptions:
    """`entitlements` are what the client allows its build. Raises InvalidArgument."""
    platforms = [parse_platform(text) for text in attrs.get("platform", "").split(",") if text]
    source = attrs.get("context", "")
    return BuildOptions(
        dockerfile=attrs.get("filename", ""),
        remote="" if is_upload(source) else source if _is_remote(source) else "",
        build_args=_with_prefix(attrs, _BUILD_ARG) | _spoken(attrs),
        labels=_with_prefix(attrs, _LABEL),
        target=attrs.get("target", ""),
        no_cache=attrs.get("no-cache") == "",
        no_cache_filter=tuple(_words(attrs.get("no-cache", ""))),
        pull=attrs.get("image-resolve-mode") == "pull",
        network=attrs.get("force-network-mode", "") or "default",
        extra_hosts=tuple(each.replace("=", ":", 1) for each in _words(attrs.get("add-hosts", ""))),
        platforms=tuple(platforms),
        contexts=_with_prefix(attrs, _CONTEXT),
        entitlements=frozenset(entitlements),
        hostname=attrs.get("hostname", ""),
        inline_cache=attrs.get(f"{_BUILD_ARG}BUILDKIT_INLINE_CACHE") in ("1", "true"),
        limits=_limits(attrs),
    )


def _spoken(attrs: Mapping[str, str]) -> dict[str, str]:
    """A frontend that was chosen by the Dockerfile (`cmdline` says so) and falls back on the built-in one must not be chosen again."""
    return {"BUILDKIT_SYNTAX": "dockerfile.v0"} if "cmdline" in attrs else {}


def _is_remote(source: str) -> bool:
    return "://" in source or source.startswith("git@")


def _with_prefix(attrs: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in attrs.items() if name.startswith(prefix)}


def _words(text: str) -> list[str]:
    """One line of CSV."""
    return [word for word in next(csv.reader([text]), []) if word]


def _limits(attrs: Mapping[str, str]) -> StepLimits:
    return StepLimits(
        memory_bytes=_number(attrs, "memory"),
        memory_swap_bytes=_number(attrs, "memswap"),
        cpu_shares=_number(attrs, "cpushares"),
        cpu_period=_number(attrs, "cpuperiod"),
        cpu_quota=_number(attrs, "cpuquota"),
        cpuset_cpus=attrs.get("cpusetcpus", ""),
        cpuset_mems=attrs.get("cpusetmems", ""),
        shm_bytes=_number(attrs, "shm-size"),
        ulimits=tuple(_ulimit(word) for word in _words(attrs.get("ulimit", ""))),
        cgroup_parent=attrs.get("cgroup-parent", ""),
    )


def _ulimit(word: str) -> tuple[str, int, int]:
    """`name=soft[:hard]`."""
    name, _, values = word.partition("=")
    soft, _, hard = values.partition(":")
    try:
        return name, int(soft), int(hard or soft)
    except ValueError:
        raise InvalidArgument(f"invalid ulimit {word!r}") from None


def _number(attrs: Mapping[str, str], name: str) -> int:
    text = attrs.get(name, "")
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f"invalid {name} {text!r}: must be a number") from None
