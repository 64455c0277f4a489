"""Info, disk usage and events as older versions had them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from onggi.api.shapes_containers import list_at
from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from onggi.engine.events import Event

Document = dict[str, Any]

USAGE_KINDS: Final = ("container", "image", "volume", "build-cache")
_FLAT: Final = {"container": "Containers", "image": "Images", "volume": "Volumes", "build-cache": "BuildCache"}
_OBJECT: Final = {
    "container": "ContainerUsage",
    "image": "ImageUsage",
    "volume": "VolumeUsage",
    "build-cache": "BuildCacheUsage",
}
_INFO_SINCE: Final = {
    "Warnings": 39,
    "CgroupVersion": 41,
    "DefaultAddressPools": 41,
    "CDISpecDirs": 44,
    "Containerd": 46,
    "FirewallBackend": 49,
    "DiscoveredDevices": 50,
    "NRI": 53,
}


def info_at(found: Document, version: int) -> Document:
    """`GET /info`: names come with their version; the bridge's netfilter flags went with 1.50."""
    for name, since in _INFO_SINCE.items():
        if version < since:
            found.pop(name, None)
    if version < 50:
        found |= {"BridgeNfIptables": False, "BridgeNfIp6tables": False}
    if version < 44:
        for runtime in (found.get("Runtimes") or {}).values():
            runtime.pop("status", None)
    return found


def ask_for_usage(kinds: list[str]) -> frozenset[str]:
    """Which parts of `/system/df` are asked for; all when none is named. Raises InvalidArgument."""
    for kind in kinds:
        if kind not in USAGE_KINDS:
            raise InvalidArgument(f"unknown object type: {kind}")
    return frozenset(kinds or USAGE_KINDS)


def usage_at(found: Document, version: int, kinds: frozenset[str], *, verbose: bool) -> Document:
    """The engine's {kind: {"Items": […], "TotalSize": n, "ActiveCount": n, "Reclaimable": n}} in the version's form.

    Until 1.52 flat lists; from 1.52 objects, whose items are told when asked for.
    """
    answer: Document = {}
    for kind in USAGE_KINDS:
        part = found.get(kind)
        if kind not in kinds or part is None:
            if version < 52 and kind not in kinds:
                answer[_FLAT[kind]] = None
            continue
        items = list_at(part["Items"], version) if kind == "container" else part["Items"]
        if version <= 52:
            answer[_FLAT[kind]] = items
        if version >= 52:
            summary = {name: part[name] for name in ("ActiveCount", "TotalSize", "Reclaimable") if name in part}
            answer[_OBJECT[kind]] = {"TotalCount": len(items), **summary} | ({"Items": items} if verbose else {})
    if version <= 52:
        answer["LayersSize"] = found.get("image", {}).get("TotalSize", 0) if "image" in kinds else 0
        if version < 42:
            answer["BuilderSize"] = 0
    return answer


def event_at(event: Event, version: int) -> Document:
    """Until 1.52 an event of a container or image also had `status`, `id` and `from`."""
    document: Document = msgspec.to_builtins(event)
    if version < 52 and event.Type in ("container", "image"):
        document |= {"status": event.Action} | ({"id": event.Actor.ID} if event.Actor.ID else {})
        if image := event.Actor.Attributes.get("image"):
            document["from"] = image
    return document
