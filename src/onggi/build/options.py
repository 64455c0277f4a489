"""The options of `POST /build`, read from its query.

Numbers that are none count as 0 and booleans follow docker's own rule (api/server/httputils/form.go): "", 0, no, false and
none are false, everything else is true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from onggi.build.runner import StepLimits
from onggi.errors import InvalidArgument
from onggi.images.challenge import RegistryAuth
from onggi.oci.platform import Platform, host_platform, parse_platform
from onggi.oci.reference import Reference, parse_reference

T = TypeVar("T")


class _Ulimit(msgspec.Struct, rename="pascal"):
    name: str
    soft: int = 0
    hard: int = 0


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What a client may ask for. `build_args` has None for one that was named without a value."""

    tags: tuple[Reference, ...] = ()
    dockerfile: str = ""
    remote: str = ""
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    no_cache: bool = False
    pull: bool = False
    quiet: bool = False
    remove_intermediate: bool = True
    network: str = "default"
    extra_hosts: tuple[str, ...] = ()
    platform: Platform | None = None
    cache_from: tuple[str, ...] = ()
    limits: StepLimits = field(default_factory=StepLimits)
    build_id: str = ""
    auths: Mapping[str, RegistryAuth] = field(default_factory=dict)
    """Registry → credentials, from X-Registry-Config."""
    platforms: tuple[Platform, ...] = ()
    """More than one makes an index; empty: `platform`, or the host's."""
    no_cache_filter: tuple[str, ...] = ()
    """Stages whose steps are found in no cache."""
    contexts: Mapping[str, str] = field(default_factory=dict)
    """Named contexts as the client wrote them: `docker-image://…`, `local:name`, a git or http URL."""
    entitlements: frozenset[str] = frozenset()
    hostname: str = ""
    inline_cache: bool = False
    rewrite_timestamp: bool = False
    """With SOURCE_DATE_EPOCH: no file of the layers that are made has a later time."""
    raw_progress: bool = False
    """The stream of `POST /build` has BuildKit's events in place of the older builder's text."""
    explain: bool = False
    keep_failed: bool = False
    """A RUN that fails leaves what it has made, for who wants to look at it."""
    """The image says in its config which steps made its layers, for builds elsewhere that name it as a cache."""

    @property
    def wanted_platforms(self) -> tuple[Platform, ...]:
        return self.platforms or (self.platform or host_platform(),)

    @property
    def sandbox_hostname(self) -> str:
        """What RUN steps see; BuildKit's own name unless another is asked for."""
        return self.hostname or self.build_args.get("BUILDKIT_SANDBOX_HOSTNAME") or "buildkitsandbox"

    @property
    def cache_namespace(self) -> str:
        """What sets the cache mounts of one project apart from another's."""
        return self.build_args.get("BUILDKIT_CACHE_MOUNT_NS") or ""


def options_from_query(
    query: Mapping[str, Sequence[str]], auths: Mapping[str, RegistryAuth] | None = None
) -> BuildOptions:
    """Raises InvalidArgument with docker's words. Unknown parameters are ignored."""
    version = _one(query, "version")
    if version not in ("", "1", "2"):
        raise InvalidArgument(f'invalid version "{version}"')
    if _true(query, "squash"):
        raise InvalidArgument("squash is only supported with experimental mode")
    if _one(query, "securityopt") not in ("", "null", "[]"):
        raise InvalidArgument("security options are not supported on linux")
    if _json(query, "outputs", list[dict[str, object]], []):
        raise InvalidArgument("multiple outputs not supported: build outputs need BuildKit")
    isolation = _one(query, "isolation")
    if isolation not in ("", "default"):
        raise InvalidArgument(f"Invalid isolation: {isolation!r} is not supported on linux")
    platform = _one(query, "platform")
    return BuildOptions(
        tags=tuple(dict.fromkeys(_tag(text) for text in query.get("t", ()) if text)),
        dockerfile=_one(query, "dockerfile"),
        remote=_one(query, "remote"),
        build_args=_json(query, "buildargs", dict[str, str | None], {}),
        labels=_json(query, "labels", dict[str, str], {}),
        target=_one(query, "target"),
        no_cache=_true(query, "nocache"),
        pull=_true(query, "pull"),
        quiet=_true(query, "q"),
        remove_intermediate=_true(query, "forcerm") or not _one(query, "rm") or _true(query, "rm"),
        network=_one(query, "networkmode") or "default",
        extra_hosts=_extra_hosts(query),
        platform=parse_platform(platform) if platform else None,
        cache_from=tuple(_json(query, "cachefrom", list[str], [])),
        contexts=_json(query, "contexts", dict[str, str], {}),
        no_cache_filter=tuple(_json(query, "nocachefilter", list[str], [])),
        rewrite_timestamp=_true(query, "rewritetimestamp"),
        raw_progress=_one(query, "progress") == "raw",
        explain=_true(query, "explain"),
        keep_failed=_true(query, "keepfailed"),
        # Scripts of the older builder expect any image to do for --cache-from.
        inline_cache=True,
        entitlements=frozenset(_json(query, "entitlements", list[str], []))
        | ({"network.host"} if _one(query, "networkmode") == "host" else set()),
        limits=_limits(query),
        build_id=_one(query, "buildid"),
        auths=auths or {},
    )


def _limits(query: Mapping[str, Sequence[str]]) -> StepLimits:
    ulimits = _json(query, "ulimits", list[_Ulimit], [])
    return StepLimits(
        memory_bytes=_number(query, "memory"),
        memory_swap_bytes=_number(query, "memswap"),
        cpu_shares=_number(query, "cpushares"),
        cpu_period=_number(query, "cpuperiod"),
        cpu_quota=_number(query, "cpuquota"),
        cpuset_cpus=_one(query, "cpusetcpus"),
        cpuset_mems=_one(query, "cpusetmems"),
        shm_bytes=_number(query, "shmsize"),
        ulimits=tuple((u.name, u.soft, u.hard) for u in ulimits),
        cgroup_parent=_one(query, "cgroupparent"),
    )


def _extra_hosts(query: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Each `name:address`, repeated or as one JSON list (docker-py)."""
    found: list[str] = []
    for text in query.get("extrahosts", ()):
        if text.startswith("["):
            found += _decoded("extrahosts", text, list[str])
        elif text.startswith("{"):
            found += [f"{name}:{at}" for name, at in _decoded("extrahosts", text, dict[str, str]).items()]
        elif text:
            found.append(text)
    return tuple(found)


def _tag(text: str) -> Reference:
    reference = parse_reference(text)
    if reference.digest:
        raise InvalidArgument("build tag cannot contain a digest")
    return reference


def _one(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = query.get(name, ())
    return values[0] if values else ""


def _true(query: Mapping[str, Sequence[str]], name: str) -> bool:
    return _one(query, name).strip().lower() not in ("", "0", "no", "false", "none")


def _number(query: Mapping[str, Sequence[str]], name: str) -> int:
    try:
        return int(_one(query, name))
    except ValueError:
        return 0


def _json(query: Mapping[str, Sequence[str]], name: str, shape: type[T], missing: T) -> T:
    text = _one(query, name)
    if not text or text == "null":
        return missing
    return _decoded(name, text, shape)


def _decoded(name: str, text: str, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(text.encode(), type=shape)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InvalidArgument(f"error reading {name}: {error}") from None
