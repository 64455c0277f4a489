"""Parts of the API that this engine doesn't have: swarm, plugins, checkpoints. Each answers as an engine without them does.

`NOT_HERE` lists what answers 501 and why; clients match the words of the others (`not a swarm manager`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onggi.api import filternames
from onggi.api.answers import json_answer
from onggi.api.table import Handler, Routes
from onggi.errors import NotFound, NotImplementedHere, Unavailable

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

MANAGER_TEXT: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)

NO_CHECKPOINTS: Final = "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it."
"""What every engine answers that isn't set to make checkpoints."""

NOT_HERE: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("GET", "/plugins/privileges"): ("E-067", "plugins are not supported"),
    ("POST", "/plugins/pull"): ("E-068", "plugins are not supported"),
    ("POST", "/plugins/create"): ("E-074", "plugins are not supported"),
    ("POST", "/swarm/init"): ("E-082", "swarm mode is not provided by this engine"),
    ("POST", "/swarm/join"): ("E-083", "swarm mode is not provided by this engine"),
    ("POST", "/containers/{id}/checkpoints"): ("E-113", NO_CHECKPOINTS),
    ("DELETE", "/containers/{id}/checkpoints/{checkpoint}"): ("E-114", NO_CHECKPOINTS),
}
"""(method, pattern) → (row, what is missing)."""

_MANAGER: Final = (
    ("GET", "/nodes", "E-077"),
    ("GET", "/nodes/{id}", "E-078"),
    ("DELETE", "/nodes/{id}", "E-079"),
    ("POST", "/nodes/{id}/update", "E-080"),
    ("GET", "/swarm", "E-081"),
    ("POST", "/swarm/update", "E-085"),
    ("GET", "/swarm/unlockkey", "E-086"),
    ("POST", "/swarm/unlock", "E-087"),
    ("GET", "/services", "E-088"),
    ("POST", "/services/create", "E-089"),
    ("GET", "/services/{id}", "E-090"),
    ("DELETE", "/services/{id}", "E-091"),
    ("POST", "/services/{id}/update", "E-092"),
    ("GET", "/services/{id}/logs", "E-093"),
    ("GET", "/tasks", "E-094"),
    ("GET", "/tasks/{id}", "E-095"),
    ("GET", "/tasks/{id}/logs", "E-096"),
    ("GET", "/secrets", "E-097"),
    ("POST", "/secrets/create", "E-098"),
    ("GET", "/secrets/{id}", "E-099"),
    ("DELETE", "/secrets/{id}", "E-100"),
    ("POST", "/secrets/{id}/update", "E-101"),
    ("GET", "/configs", "E-102"),
    ("POST", "/configs/create", "E-103"),
    ("GET", "/configs/{id}", "E-104"),
    ("DELETE", "/configs/{id}", "E-105"),
    ("POST", "/configs/{id}/update", "E-106"),
)
_NO_PLUGIN: Final = (
    ("GET", "/plugins/{name*}/json", "E-069"),
    ("POST", "/plugins/{name*}/enable", "E-071"),
    ("POST", "/plugins/{name*}/disable", "E-072"),
    ("POST", "/plugins/{name*}/upgrade", "E-073"),
    ("POST", "/plugins/{name*}/push", "E-075"),
    ("POST", "/plugins/{name*}/set", "E-076"),
    ("DELETE", "/plugins/{name*}", "E-070"),
)

routes = Routes()


def _not_here(message: str) -> Handler:
    async def handler(call: Call) -> StreamResponse:  # noqa: ARG001
        raise NotImplementedHere(message)

    return handler


async def _needs_manager(call: Call) -> StreamResponse:  # noqa: ARG001
    raise Unavailable(MANAGER_TEXT)


async def _no_plugin(call: Call) -> StreamResponse:
    raise NotFound(f'plugin "{call.params["name"]}" not found')


@routes.on("GET", "/containers/{id}/checkpoints", "E-112")
async def _no_checkpoints(call: Call) -> StreamResponse:
    call.engine.containers.get(call.params["id"])
    return json_answer([])


@routes.on("GET", "/plugins", "E-066")
async def _no_plugins(call: Call) -> StreamResponse:
    call.query.filters(filternames.PLUGINS)
    return json_answer([])


@routes.on("GET", "/images/{name*}/attestations", "E-031", since=55)
async def _no_attestations(call: Call) -> StreamResponse:
    call.engine.images.resolve(call.params["name"])
    raise NotImplementedHere("attestations are not kept by this engine's image store")


@routes.on("PUT", "/volumes/{name}", "E-056")
async def _no_cluster_volume(call: Call) -> StreamResponse:  # noqa: ARG001
    raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")


@routes.on("POST", "/swarm/leave", "E-084")
async def _not_in_swarm(call: Call) -> StreamResponse:  # noqa: ARG001
    raise Unavailable("This node is not part of a swarm")


for _where, (_row, _message) in NOT_HERE.items():
    routes.on(*_where, _row)(_not_here(_message))
for _method, _pattern, _row in _MANAGER:
    routes.on(_method, _pattern, _row)(_needs_manager)
for _method, _pattern, _row in _NO_PLUGIN:
    routes.on(_method, _pattern, _row)(_no_plugin)
