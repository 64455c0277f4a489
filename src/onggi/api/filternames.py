"""Which filters each list takes (moby daemon/*/list.go and the API's description); any other name is an error."""

from __future__ import annotations

from typing import Final

_PRUNE: Final = frozenset({"until", "label", "label!"})

CONTAINERS: Final = frozenset(
    {
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "is-task",
        "isolation",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    }
)
CONTAINERS_PRUNE: Final = _PRUNE
IMAGES: Final = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})
SEARCH: Final = frozenset({"is-automated", "is-official", "stars"})
IMAGES_PRUNE: Final = _PRUNE | {"dangling"}
VOLUMES: Final = frozenset({"dangling", "driver", "label", "name"})
VOLUMES_PRUNE: Final = frozenset({"all", "label", "label!"})
NETWORKS: Final = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
NETWORKS_PRUNE: Final = _PRUNE
BUILD_PRUNE: Final = frozenset(
    {"description", "id", "inuse", "label", "label!", "parent", "private", "shared", "type", "unused-for", "until"}
)
PLUGINS: Final = frozenset({"capability", "enabled"})
EVENTS: Final = frozenset(
    {
        "builder",
        "config",
        "container",
        "daemon",
        "event",
        "image",
        "label",
        "network",
        "node",
        "plugin",
        "scope",
        "secret",
        "service",
        "type",
        "volume",
    }
)
