"""What a build is asked to say of its images: the frontend's attributes `attest:provenance` and `attest:sbom`."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from onggi.build.buildkit import provenance
from onggi.build.exporters import packages
from onggi.build.exporters.attestations import Predicate
from onggi.build.exporters.trees import packages_of
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from onggi.build.builder import Builder
    from onggi.build.buildkit.jobs import Job
    from onggi.build.request import Built

_PREFIX: Final = "attest:"
_KINDS: Final = ("provenance", "sbom")


def asked(attrs: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Kind → its options. What is asked for images that need none (inline-only, disabled) isn't. Raises InvalidArgument."""
    found: dict[str, dict[str, str]] = {}
    for name, value in attrs.items():
        if not name.startswith(_PREFIX):
            continue
        kind = name.removeprefix(_PREFIX)
        if kind not in _KINDS:
            raise InvalidArgument(f"unknown attestation type {kind!r}")
        options = dict(word.partition("=")[::2] for word in next(csv.reader([value]), []) if word)
        if options.get("disabled") != "true" and options.get("inline-only") != "true":
            found[kind] = options
    return found


async def predicates(builder: Builder, job: Job, built: Built) -> Sequence[Predicate]:
    """What is said of one result. Raises OSError."""
    kinds = asked(job.attrs)
    found: list[Predicate] = []
    if "provenance" in kinds:
        document = provenance.predicate(
            job.ref,
            job.attrs,
            [built],
            started_ns=job.started_ns,
            ended_ns=time.time_ns(),
            is_max=kinds["provenance"].get("mode") == "max",
        )
        found.append(Predicate(provenance.PREDICATE_TYPE, document))
    if "sbom" in kinds:
        found.append(await _packages(builder, job, built))
    return found


async def _packages(builder: Builder, job: Job, built: Built) -> Predicate:
    """An SBOM, by the engine's own scan of the databases of packages; a generator that a client names isn't run."""
    step = job.trace.vertex(f"[{built.platform}] generating sbom", key=f"{job.ref} sbom {built.platform}")
    step.start()
    scanned = await packages_of(builder.layering.layers, builder.layering.workers, built.layers)
    step.done()
    created = built.config.created or ""
    return Predicate(
        packages.PREDICATE_TYPE,
        packages.document(
            scanned.packages, distribution=scanned.distribution, created=created, name=f"{built.platform}"
        ),
    )
