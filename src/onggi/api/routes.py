"""All routes of the API, gathered from the files that have them."""

from __future__ import annotations

from collections.abc import Iterator

from onggi.api import (
    routes_absent,
    routes_archive,
    routes_build,
    routes_buildkit,
    routes_containers,
    routes_exec,
    routes_images,
    routes_networks,
    routes_onggi,
    routes_registry,
    routes_streams,
    routes_system,
    routes_volumes,
)
from onggi.api.table import Route


def every_route() -> Iterator[Route]:
    """In the order in which patterns of one first segment are tried."""
    for part in (
        routes_absent,
        routes_system,
        routes_containers,
        routes_streams,
        routes_archive,
        routes_exec,
        routes_images,
        routes_registry,
        routes_networks,
        routes_volumes,
        routes_build,
        routes_buildkit,
        routes_onggi,
    ):
        yield from part.routes.all
