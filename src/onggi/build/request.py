"""What a build is asked, and what it may ask back of whoever asked: files, secrets, an ssh agent, registry logins.

Types only. Two doors implement the protocols: `POST /build`, whose client sends one archive and its logins, and BuildKit's
session, whose client is asked over its own connection while the build runs.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from onggi.build.lending import Lender, Lent
from onggi.build.options import BuildOptions
from onggi.images.challenge import Keeper, RegistryAuth
from onggi.oci.digest import Digest
from onggi.oci.image import ImageConfig
from onggi.oci.platform import Platform

if TYPE_CHECKING:
    from onggi.build.context import Context
    from onggi.build.vertices import SourceFile, Vertex


class Contexts(Protocol):
    """Directories of the client."""

    async def local(
        self,
        name: str,
        *,
        follow: Sequence[str] = (),
        exclude: Sequence[str] = (),
        include: Sequence[str] = (),
        vertex: Vertex | None = None,
    ) -> Context:
        """Its files. `name` is "context", "dockerfile", or X of a named context `local:X`.

        `follow`: only these paths (wildcards too) and what links on them lead to; none means all. `exclude` are lines of an
        ignore file, `include` patterns of what alone is wanted. How far it is, is told on `vertex`. The caller closes the
        Context, whose spool other builds may be reading: nothing is appended to it.
        Raises NotFound when the client has no such directory. Cancelled: what has come is kept for the next time or dropped.
        """


class Secrets(Protocol):
    """What `RUN --mount=type=secret` reads. Its bytes go nowhere else: no log, no key, no file on a disk."""

    async def secret(self, identifier: str) -> bytes | None:
        """None: the client has none of this name."""


class Agents(Protocol):
    """ssh agents of the client."""

    async def has(self, identifier: str) -> bool:
        """Whether the client forwards the agent `identifier` ("default" is the usual one)."""

    async def connect(self, identifier: str, connection: socket.socket) -> None:
        """Carries an accepted, non-blocking connection to the agent until one side ends, and closes it. Cancelled: closed."""


class Credentials(Protocol):
    """Logins of the client."""

    async def credentials(self, domain: str) -> RegistryAuth | Keeper | None:
        """For a registry as `Reference.domain` names it; None: the client has none."""


@dataclass(frozen=True, slots=True)
class Request:
    """One build."""

    options: BuildOptions
    contexts: Contexts
    secrets: Secrets
    agents: Agents
    credentials: Credentials
    results: Mapping[str, Built] = field(default_factory=dict)
    """Of the client's other builds, by the names that named contexts have for them (`input:name`)."""
    lenders: Sequence[Lender] = ()
    """Caches from elsewhere, asked in this order for what the engine's own doesn't have."""


@dataclass(frozen=True, slots=True)
class Remains:
    """A RUN that failed, as it was then: its files, its environment, what was mounted (source on this machine, target, read-only).

    `trees` are other stages and images that were mounted: layers, a path in them, target.
    """

    layers: tuple[Digest, ...]
    environment: tuple[str, ...]
    user: str
    directory: str
    command: tuple[str, ...]
    mounts: tuple[tuple[str, str, bool], ...]
    trees: tuple[tuple[tuple[Digest, ...], str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """Something that came from outside. `uri` is a package URL for images, else the URL; `digest` as "algorithm:hex"."""

    uri: str
    digest: str


@dataclass(frozen=True, slots=True)
class Built:
    """The result for one platform: an image that has no name yet. Its layers are held while the build's block lasts."""

    platform: Platform
    config: ImageConfig
    layers: tuple[Digest, ...]
    file: SourceFile
    materials: tuple[Material, ...] = ()
    steps: Mapping[str, Lent] = field(default_factory=dict)
    """All steps of the build under their keys, those of other stages and platforms too."""


@dataclass(frozen=True, slots=True)
class Solved:
    """In the order of the platforms that were asked for."""

    images: tuple[Built, ...]
