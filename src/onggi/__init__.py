"""onggi: a container platform that speaks Docker's and OCI's protocols. `import onggi` gives its typed client."""

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "__version__",
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
    from onggi.client import (
        ApiError,
        AsyncClient,
        Client,
        containers,
        deploys,
        execs,
        images,
        networks,
        system,
        volumes,
    )


def __getattr__(name: str) -> object:
    # The engine's programs import this package too: the client is loaded by those who ask for it.
    if name not in __all__:
        raise AttributeError(f"module 'onggi' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("onggi.client"), name)
