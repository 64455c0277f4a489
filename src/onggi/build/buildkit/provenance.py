"""What a build says of where its result comes from: SLSA provenance 0.2 as BuildKit writes it, without secrets' values. Pure.

Source: slsa.dev/provenance/v0.2; moby buildkit docs/attestations/slsa-provenance.md.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from onggi.build.request import Built, Material
from onggi.oci.platform import host_platform

PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v0.2"
_BUILD_TYPE: Final = "https://mobyproject.org/buildkit@v1"
_HIDDEN: Final = ("build-arg:", "label:")
"""Attributes whose values are in provenance of mode max only."""


def predicate(
    ref: str, attrs: Mapping[str, str], images: Sequence[Built], *, started_ns: int, ended_ns: int, is_max: bool
) -> dict[str, Any]:
    """The predicate of one build."""
    source = attrs.get("context", "")
    remote = source if "://" in source else ""
    config_source: dict[str, Any] = {"entryPoint": attrs.get("filename", "Dockerfile")}
    parameters: dict[str, Any] = {"frontend": "dockerfile.v0"}
    if remote:
        config_source["uri"] = remote
    else:
        parameters["locals"] = [{"name": "context"}, {"name": "dockerfile"}]
    args = {name: value for name, value in attrs.items() if _is_told(name, is_max=is_max)}
    if args:
        parameters["args"] = args
    return {
        "builder": {"id": ""},
        "buildType": _BUILD_TYPE,
        "materials": [_material(each) for each in _unique(images)],
        "invocation": {
            "configSource": config_source,
            "parameters": parameters,
            "environment": {"platform": str(host_platform())},
        },
        "metadata": {
            "buildInvocationID": ref,
            "buildStartedOn": _time(started_ns),
            "buildFinishedOn": _time(ended_ns),
            "completeness": {"parameters": is_max, "environment": True, "materials": False},
            "reproducible": False,
            f"{_BUILD_TYPE}#metadata": {},
        },
    }


def encoded(document: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(document)


def _is_told(name: str, *, is_max: bool) -> bool:
    if name in ("context", "filename", "source", "frontend.caps", "local-sessionid:context", "cache-imports"):
        return False
    return is_max or not name.startswith((*_HIDDEN, "attest:", "vcs:", "contextkey", "dockerfilekey", "sharedkey"))


def _unique(images: Iterable[Built]) -> list[Material]:
    return list(dict.fromkeys(material for image in images for material in image.materials))


def _material(material: Material) -> dict[str, Any]:
    algorithm, _, value = material.digest.partition(":")
    return {"uri": material.uri, "digest": {algorithm: value}} if value else {"uri": material.uri}


def _time(ns: int) -> str:
    return dt.datetime.fromtimestamp(ns / 1e9, dt.UTC).isoformat().replace("+00:00", "Z")
