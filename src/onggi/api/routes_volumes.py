"""Volumes: directories that outlive containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from onggi.api import filternames
from onggi.api.answers import empty, json_answer
from onggi.api.matching import label_test, name_test, only_flag
from onggi.api.table import Routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call
    from onggi.api.query import Filters
    from onggi.engine.engine import Engine
    from onggi.volumes import Volume

routes = Routes()


class VolumeBody(msgspec.Struct, rename="pascal"):
    """POST /volumes/create."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None


@routes.on("GET", "/volumes", "E-053")
async def list_volumes(call: Call) -> StreamResponse:
    wanted = _wanted(call.query.filters(filternames.VOLUMES), call.engine)
    return json_answer(
        {
            "Volumes": [document(volume, call.engine) for volume in call.engine.volumes.list() if wanted(volume)],
            "Warnings": None,
        }
    )


@routes.on("POST", "/volumes/create", "E-054")
async def create(call: Call) -> StreamResponse:
    body = await call.json(VolumeBody)
    volume = await call.engine.volumes.create(
        body.name, driver=body.driver, options=body.driver_opts, labels=body.labels
    )
    return json_answer(document(volume, call.engine), 201)


@routes.on("GET", "/volumes/{name}", "E-055")
async def inspect(call: Call) -> StreamResponse:
    return json_answer(document(call.engine.volumes.get(call.params["name"]), call.engine))


@routes.on("DELETE", "/volumes/{name}", "E-057")
async def remove(call: Call) -> StreamResponse:
    await call.engine.volumes.remove(call.params["name"], force=call.query.flag("force"))
    return empty()


@routes.on("POST", "/volumes/prune", "E-058")
async def prune(call: Call) -> StreamResponse:
    """From 1.42 anonymous volumes only, unless `all` is asked for; before, all that nothing uses."""
    filters = call.query.filters(filternames.VOLUMES_PRUNE)
    everything = only_flag(filters, "all") or call.version < 42
    labels = label_test(filters)
    names, size = await call.engine.volumes.prune(all=everything, wanted=lambda volume: labels(volume.labels or {}))
    call.engine.events.emit("volume", "prune", "", {"reclaimed": str(size)})
    return json_answer({"VolumesDeleted": list(names), "SpaceReclaimed": size})


def document(volume: Volume, engine: Engine) -> dict[str, object]:
    """A volume as clients read it."""
    return {
        "CreatedAt": volume.created,
        "Driver": volume.driver,
        "Labels": volume.labels and dict(sorted(volume.labels.items())),
        "Mountpoint": engine.volumes.mountpoint(volume.name),
        "Name": volume.name,
        "Options": volume.options and dict(sorted(volume.options.items())),
        "Scope": "local",
    }


def _wanted(filters: Filters, engine: Engine) -> Callable[[Volume], bool]:
    labels, names = label_test(filters), name_test(filters.get("name", []))
    drivers = filters.get("driver", [])
    dangling = only_flag(filters, "dangling")

    def test(volume: Volume) -> bool:
        return (
            labels(volume.labels or {})
            and names(volume.name)
            and (not drivers or volume.driver in drivers)
            and dangling in (None, not engine.volumes.users(volume.name))
        )

    return test
