"""What the engine says it is and can do, as BuildKit's clients ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from onggi import __version__
from onggi.build.buildkit.llb.capabilities import GRAPHS
from onggi.build.buildkit.pb import caps_pb2, ops_pb2, worker_pb2
from onggi.oci.platform import Platform, host_platform

_LABEL: Final = "org.mobyproject.buildkit.worker."

BUILDKIT_LIKE: Final = "v0.25.0"
"""The BuildKit whose protocol this is: clients compare it with what a feature needs."""

_GATEWAY: Final = (
    "solve.base", "solve.inlinereturn", "resolveimage", "resolveimage.resolvemode", "readfile", "return", "returnmap",
    "readdir", "statfile", "importcaches", "proto.refarray", "frontend.caps", "gateway.solve.evaluate",
    "gateway.evaluate", "gateway.warnings", "gateway.solve.metadata", "source.metaresolver", "reference.output", "frontend.inputs",
)  # fmt: skip
"""Source of the names: moby buildkit frontend/gateway/pb/caps.go."""

_BESIDE_GRAPHS: Final = (
    "exporter.image.annotations", "exporter.image.attestations", "exporter.sourcedateepoch", "exporter.multiple",
    "gc.freespacefilter", "history.filter",
)  # fmt: skip
"""Source of the names: moby buildkit solver/pb/caps.go."""


def caps(names: Sequence[str]) -> list[caps_pb2.APICap]:
    return [caps_pb2.APICap(ID=name, Enabled=True) for name in names]


def gateway_caps() -> list[caps_pb2.APICap]:
    return caps(_GATEWAY)


def llb_caps() -> list[caps_pb2.APICap]:
    return caps((*GRAPHS, *_BESIDE_GRAPHS))


def platform_message(platform: Platform) -> ops_pb2.Platform:
    return ops_pb2.Platform(
        Architecture=platform.architecture, OS=platform.os, Variant=getattr(platform, "variant", "") or ""
    )


def version_message() -> worker_pb2.BuildkitVersion:
    return worker_pb2.BuildkitVersion(package="onggi", version=BUILDKIT_LIKE, revision=__version__)


def worker_record(identifier: str) -> worker_pb2.WorkerRecord:
    """The one worker: the engine."""
    return worker_pb2.WorkerRecord(
        ID=identifier,
        Labels={_LABEL + "executor": "oci", _LABEL + "snapshotter": "overlayfs", _LABEL + "network": "host"},
        platforms=[platform_message(host_platform())],
        BuildkitVersion=version_message(),
    )
