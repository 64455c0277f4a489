"""`POST /build`: what its client has sent stands for all that a build may ask of a client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onggi.build.context import Context
from onggi.build.definition import NAMES
from onggi.build.options import BuildOptions
from onggi.build.vertices import Vertex
from onggi.errors import NotFound
from onggi.ignore import IgnoreRules, clean, read_ignore_file
from onggi.images.challenge import RegistryAuth
from onggi.oci.reference import DEFAULT_DOMAIN

_HUB = "https://index.docker.io/v1/"
"""What clients call Docker Hub in X-Registry-Config."""

NAMED_CONTEXTS = ".onggi-contexts"
"""The directory of the archive whose directories are the named contexts `local:…`."""

_IGNORE_LIMIT = 8 * 1024 * 1024


class PostedContexts:
    """One archive, which is the context and has the Dockerfile. The client has left out what .dockerignore names."""

    def __init__(self, context: Context | None, options: BuildOptions) -> None:
        self._context, self._options = context, options

    async def local(
        self,
        name: str,
        *,
        follow: Sequence[str] = (),
        exclude: Sequence[str] = (),
        include: Sequence[str] = (),
        vertex: Vertex | None = None,
    ) -> Context:
        """See request.Contexts. The whole archive is here already; `exclude` was the client's affair."""
        del follow, exclude, include, vertex
        if self._context is None:
            raise NotFound(f"no local directory {name!r} was sent with this build")
        if name == "dockerfile":
            return self._context.again()
        if name != "context":
            return self._context.below(f"{NAMED_CONTEXTS}/{name}")
        context = self._context.again()
        context.remove(NAMED_CONTEXTS)
        return self._without_files_of_ours(context)

    def _without_files_of_ours(self, context: Context) -> Context:
        """The Dockerfile and .dockerignore are sent whatever .dockerignore says: it holds for the context."""
        ignore = context.find(".dockerignore")
        if ignore is None:
            return context
        rules = IgnoreRules(read_ignore_file(context.read(ignore, _IGNORE_LIMIT)))
        named = clean(self._options.dockerfile).removeprefix("/") if self._options.dockerfile else ""
        ours = {".dockerignore", named, *NAMES} - {""}
        hidden = [path for path in ours if (path in (named, ".dockerignore") or not named) and rules.ignores(path)]
        for path in hidden:
            context.remove(path)
        return context


class PostedSecrets:
    """Sent along with the request."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._secrets = secrets

    async def secret(self, identifier: str) -> bytes | None:
        return self._secrets.get(identifier)


class PostedCredentials:
    """From X-Registry-Config."""

    def __init__(self, auths: Mapping[str, RegistryAuth]) -> None:
        self._auths = auths

    async def credentials(self, domain: str) -> RegistryAuth | None:
        registry = _HUB if domain == DEFAULT_DOMAIN else domain
        return self._auths.get(registry) or self._auths.get(f"https://{registry}")
