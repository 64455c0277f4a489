"""Contexts: names for engines, in docker's layout below the configuration's directory so that both programs share them.

    contexts/meta/SHA256-OF-NAME/meta.json
    contexts/tls/SHA256-OF-NAME/docker/{ca,cert,key}.pem

`default` is no file: it is what DOCKER_HOST and the TLS variables say.
"""

from __future__ import annotations

import os

from onggi.client.endpoint import Endpoint, Tls, own_socket, tls_from_environment
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.configfile import ConfigFile
    from onggi.client.shapes import Json

TLS_FILES = ("ca", "cert", "key")


class ContextError(OnggiError):
    """A context that isn't there or can't be, in docker's words."""


class Store:
    """The contexts below one configuration directory."""

    def __init__(self, directory: str) -> None:
        self._root = os.path.join(directory, "contexts")

    def meta_directory(self, name: str) -> str:
        return os.path.join(self._root, "meta", _key(name))

    def tls_directory(self, name: str) -> str:
        return os.path.join(self._root, "tls", _key(name))

    def read(self, name: str) -> Json:
        """Raises ContextError."""
        import json

        path = os.path.join(self.meta_directory(name), "meta.json")
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            raise ContextError(f'context "{name}": context not found: open {path}: no such file or directory') from None
        except (OSError, ValueError) as error:
            raise ContextError(f'context "{name}": {error}') from None
        return found if isinstance(found, dict) else {}

    def exists(self, name: str) -> bool:
        return os.path.exists(os.path.join(self.meta_directory(name), "meta.json"))

    def names(self) -> list[str]:
        import json

        found = []
        directory = os.path.join(self._root, "meta")
        for entry in os.listdir(directory) if os.path.isdir(directory) else ():
            try:
                with open(os.path.join(directory, entry, "meta.json"), encoding="utf-8") as file:
                    found.append(str(json.load(file)["Name"]))
            except (OSError, ValueError, KeyError):
                continue
        return sorted(found, key=_natural)

    def write(self, meta: Json) -> None:
        import json

        directory = self.meta_directory(meta["Name"])
        os.makedirs(directory, exist_ok=True)
        temporary = os.path.join(directory, f".meta{os.getpid()}")
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(json.dumps(meta, separators=(",", ":"), ensure_ascii=False))
        os.rename(temporary, os.path.join(directory, "meta.json"))

    def write_tls(self, name: str, files: dict[str, bytes]) -> None:
        """Replaces the TLS files of the docker endpoint; without any the directory goes."""
        import shutil

        directory = self.tls_directory(name)
        shutil.rmtree(directory, ignore_errors=True)
        if files:
            os.makedirs(os.path.join(directory, "docker"), mode=0o700)
        for file, data in files.items():
            fd = os.open(os.path.join(directory, "docker", f"{file}.pem"), os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(fd, "wb") as out:
                out.write(data)

    def tls(self, name: str) -> dict[str, str]:
        """ca, cert, key → path, of those that are there."""
        directory = os.path.join(self.tls_directory(name), "docker")
        paths = {file: os.path.join(directory, f"{file}.pem") for file in TLS_FILES}
        return {file: path for file, path in paths.items() if os.path.exists(path)}

    def remove(self, name: str) -> None:
        import shutil

        shutil.rmtree(self.meta_directory(name))
        shutil.rmtree(self.tls_directory(name), ignore_errors=True)


def _key(name: str) -> str:
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()


def _natural(name: str) -> list[object]:
    """Sorts `a2` before `a10`."""
    import re

    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def current(config: ConfigFile, host: str, chosen: str) -> str:
    """--host, --context, DOCKER_HOST, DOCKER_CONTEXT, currentContext, in this order. Raises ContextError."""
    if host and chosen:
        raise ContextError("conflicting options: cannot specify both --host and --context")
    if host:
        return "default"
    if chosen:
        return chosen
    if os.environ.get("DOCKER_HOST") or os.environ.get("ONGGI_HOST"):
        return "default"
    return os.environ.get("DOCKER_CONTEXT") or config.text("currentContext") or "default"


def default_host(host: str) -> str:
    return host or os.environ.get("ONGGI_HOST") or os.environ.get("DOCKER_HOST") or own_socket()


def endpoint_of(store: Store, name: str, host: str, tls: Tls | None) -> Endpoint:
    """Raises ContextError, ConnectionRefused."""
    if name == "default":
        return Endpoint(default_host(host), tls or tls_from_environment())
    try:
        endpoint = (store.read(name).get("Endpoints") or {}).get("docker") or {}
    except ContextError as error:
        raise ContextError(f"Failed to initialize: unable to resolve docker endpoint: {error}") from None
    files = store.tls(name)
    verify = not endpoint.get("SkipTLSVerify")
    own = Tls(**files, verify=verify) if files or not verify else None
    return Endpoint(endpoint.get("Host") or own_socket(), tls or own)
