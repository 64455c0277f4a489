"""Manifest lists in the making, in docker's layout below the configuration's directory.

    manifests/LIST/MANIFEST      JSON: Ref, Descriptor, Raw, and the manifest itself

Names are full references with `:` as `-` and `/` as `_`.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json


def full(name: str) -> str:
    """`busybox` → `docker.io/library/busybox:latest`. Raises Exit for what is no reference."""
    from onggi.cli.references import registry_of, split

    repository, tag = split(name)
    host = registry_of(repository)
    if repository.partition("/")[0] not in (host, "index.docker.io"):
        repository = f"{host}/{repository}"
    if host == "docker.io" and repository.count("/") == 1:
        repository = f"docker.io/library/{repository.partition('/')[2]}"
    return f"{repository}@{tag}" if tag and ":" in tag else f"{repository}:{tag}"


def parts(name: str) -> tuple[str, str, str]:
    """(host, repository, tag or digest) of a full reference."""
    host, _, rest = name.partition("/")
    repository, at, digest = rest.partition("@")
    if at:
        return host, repository, digest
    repository, _, tag = rest.rpartition(":")
    return host, repository, tag


class ManifestStore:
    """The lists below one configuration directory."""

    def __init__(self, directory: str) -> None:
        self._root = os.path.join(directory, "manifests")

    def _path(self, *names: str) -> str:
        return os.path.join(self._root, *(name.replace(":", "-").replace("/", "_") for name in names))

    def list(self, target: str) -> list[Json] | None:
        """What is in a list; None when there is none."""
        directory = self._path(target)
        if not os.path.isdir(directory):
            return None
        return [self._read(os.path.join(directory, name)) for name in sorted(os.listdir(directory))]

    @staticmethod
    def _read(path: str) -> Json:
        with open(path, encoding="utf-8") as file:
            found: Json = json.load(file)
        return found

    def get(self, target: str, image: str) -> Json | None:
        path = self._path(target, image)
        return self._read(path) if os.path.exists(path) else None

    def save(self, target: str, image: str, entry: Json) -> None:
        os.makedirs(self._path(target), exist_ok=True)
        temporary = f"{self._path(target)}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(entry, file, separators=(",", ":"))
        os.rename(temporary, self._path(target, image))

    def remove(self, target: str) -> None:
        import shutil

        shutil.rmtree(self._path(target))
