"""--link on the default bridge: `container[:alias]`, kept by id so that a renamed container is still the one that was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from onggi.engine.config import HostConfig
from onggi.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.engine.containers import Containers

_PREDEFINED = frozenset({"", "default", "bridge", "host", "none"})


def parse(text: str) -> tuple[str, str]:
    """(container, alias). Raises InvalidArgument in docker's words."""
    if not text:
        raise InvalidArgument("empty string specified for links")
    parts = text.split(":")
    if len(parts) > 2:
        raise InvalidArgument(f"bad format for links: {text}")
    name = parts[0]
    # The form that inspect gives: /name:/own/alias.
    alias = parts[1].rpartition("/")[2] if len(parts) == 2 else name.removeprefix("/")
    return name.removeprefix("/"), alias


def are_kept(host: HostConfig) -> bool:
    """In a user-defined network a link is one more name there (EndpointSettings.Links), not a record of the container's."""
    return host.network_mode in _PREDEFINED


def by_id(host: HostConfig, get: Callable[[str], Container]) -> list[str] | None:
    """The links of a container to be made. Not a 404 for one that isn't there: docker's command line would pull the image."""
    words = [parse(text) for text in host.links or ()]
    if not words or not are_kept(host):
        return host.links
    found = []
    for name, alias in words:
        try:
            other = get(name)
        except NotFound as error:
            raise InvalidArgument(f"could not get container for {name}: {error}") from None
        if other.row.host_config.network_mode == "host":
            raise InvalidArgument(
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
            )
        found.append(f"{other.id}:{alias}")
    return found


def shown(containers: Containers, container: Container) -> list[str] | None:
    """As inspect tells them: `/other:/own/alias`; those to removed containers are told no more."""
    host = container.row.host_config
    if not host.links or not are_kept(host):
        return host.links
    found = []
    for text in host.links:
        name, alias = parse(text)
        other = containers.find(name)
        if other is not None:
            found.append(f"/{other.name}:/{container.name}/{alias}")
    return found or None
