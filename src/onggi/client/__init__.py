"""The typed client: what `import onggi` gives.

Here: calls of the Engine API as plain functions (containers, images, networks, volumes, execs, system, deploys) that
return a `Call`, and two thin faces that carry calls out: `Client`, blocking, and `AsyncClient`, on asyncio. Begin in
call.py, then wire.py (HTTP/1.1 without I/O), then sync.py and aio.py.
Not here: what the command line prints (cli/), and no room of the engine: any engine that speaks the protocol will do.
Invariant: importing this room costs a few milliseconds: no dataclasses, no enum, no asyncio before AsyncClient is used.

    with Client() as engine:
        made = engine(containers.create("busybox", ["true"]))
        engine(containers.start(made["Id"]))
"""

from onggi.client import containers, deploys, execs, images, networks, system, volumes
from onggi.client.call import Call, Hijack, Stream
from onggi.client.errors import ApiError, ConnectionRefused
from onggi.client.sync import Client

__all__ = [
    "ApiError",
    "AsyncClient",
    "Call",
    "Client",
    "ConnectionRefused",
    "Hijack",
    "Stream",
    "containers",
    "deploys",
    "execs",
    "images",
    "networks",
    "system",
    "volumes",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.aio import AsyncClient


def __getattr__(name: str) -> object:
    if name == "AsyncClient":
        from onggi.client.aio import AsyncClient

        return AsyncClient
    raise AttributeError(name)
