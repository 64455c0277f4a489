"""Containers as older versions of the API had them. Pure: documents of the newest version in, older ones out.

Source: the API's version history (moby docs/api/version-history.md), newest first. A document is decoded JSON: the engine
renders the newest form once, and only what differs is touched here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from onggi.api.answers import encode_json
from onggi.engine.config import CreateBody, EndpointSettings, HostConfig, NetworkingConfig
from onggi.errors import InvalidArgument
from onggi.network import mac_of

Document = dict[str, Any]

_FLAT: tuple[str, ...] = (
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
)


@lru_cache(maxsize=512)
def inspect_at(document: bytes, version: int) -> bytes:
    """`GET /containers/{id}/json`. The engine gives the same bytes until the container changes, so this is done once."""
    if version >= 52:
        return document
    found: Document = msgspec.json.decode(document)
    _inspect(found, version)
    return encode_json(found)


def list_at(entries: list[Document], version: int) -> list[Document]:
    """`GET /containers/json`. The entries are changed."""
    if version < 52:
        for entry in entries:
            entry.pop("Health", None)
            if version < 48:
                entry.pop("ImageManifestDescriptor", None)
            if version < 46:
                entry.get("HostConfig", {}).pop("Annotations", None)
            _endpoints(entry, version)
            for endpoint in entry["NetworkSettings"]["Networks"].values():
                endpoint.update({"Aliases": None}, **({"DNSNames": None} if version >= 44 else {}))
    return entries


def _inspect(found: Document, version: int) -> None:
    config, host = found.get("Config", {}), found.get("HostConfig", {})
    networks = found.get("NetworkSettings", {})
    # 1.52: the default network's values stand in its endpoint alone, empty values of the config are left out.
    _flat_network(found, networks)
    if mac := _asked_mac(found):
        config = found["Config"] = _with_before(config, "OnBuild", {"MacAddress": mac})
    config.setdefault("OnBuild", None)
    if version < 48:
        found.pop("ImageManifestDescriptor", None)
    if version < 46:
        _tmpfs_options(host)
    if version < 45:
        _short_aliases(found)
    if version < 44 and config.get("Healthcheck"):
        config["Healthcheck"].pop("StartInterval", None)
    if version < 43:
        host.pop("Annotations", None)
    if version < 41:
        host.pop("CgroupnsMode", None)
    if version < 40:
        host.pop("DeviceRequests", None)
    _endpoints(found, version)


def _asked_mac(found: Document) -> str:
    """The address that the endpoint of the network mode was asked to have, "" for one that follows from its IPv4 address."""
    mode = found.get("HostConfig", {}).get("NetworkMode", "")
    endpoint = found["NetworkSettings"]["Networks"].get("bridge" if mode in ("", "default") else mode) or {}
    mac, address = endpoint.get("MacAddress", ""), endpoint.get("IPAddress", "")
    return "" if address and mac == mac_of(address) else mac


def _with_before(found: Document, name: str, more: Document) -> Document:
    names = list(found)
    at = names.index(name) if name in found else len(names)
    return {**{one: found[one] for one in names[:at]}, **more, **{one: found[one] for one in names[at:]}}


def _flat_network(found: Document, networks: Document) -> None:
    mode = found.get("HostConfig", {}).get("NetworkMode", "")
    name = "bridge" if mode in ("", "default", "bridge") else ""
    endpoint = (networks.get("Networks") or {}).get(name) or {}
    found["NetworkSettings"] = {
        "Bridge": "",
        **{key: value for key, value in networks.items() if key != "Networks"},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{key: endpoint.get(key) or (0 if key.endswith("Len") else "") for key in _FLAT},
        "Networks": networks.get("Networks"),
    }


def _endpoints(found: Document, version: int) -> None:
    for endpoint in (found.get("NetworkSettings", {}).get("Networks") or {}).values():
        if version < 48:
            endpoint.pop("GwPriority", None)
        if version < 44:
            endpoint.pop("DNSNames", None)


def _short_aliases(found: Document) -> None:
    short = found.get("Id", "")[:12]
    for name, endpoint in (found.get("NetworkSettings", {}).get("Networks") or {}).items():
        if name in ("bridge", "host", "none"):
            continue
        aliases = endpoint.get("Aliases") or []
        if short not in aliases:
            endpoint["Aliases"] = [*aliases, short]


def _tmpfs_options(host: Document) -> None:
    for mount in host.get("Mounts") or []:
        (mount.get("TmpfsOptions") or {}).pop("Options", None)


def adapt_create(body: CreateBody, version: int) -> list[str]:
    """A create body of an older version in today's meaning; warnings. Raises InvalidArgument for what the version didn't have."""
    warnings = []
    host = body.host_config = body.host_config or HostConfig()
    endpoints = body.networking_config.endpoints_config if body.networking_config else {}
    if version < 44:
        if len(endpoints) > 1:
            raise InvalidArgument(
                f"Container cannot be created with multiple network endpoints: {', '.join(sorted(endpoints))}"
            )
        if body.healthcheck is not None:
            body.healthcheck.start_interval = 0
    if body.mac_address:
        if version < 52:
            _move_mac(body, host, endpoints)
        if 44 <= version < 52:
            warnings.append(
                "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
            )
        body.mac_address = ""
    if version < 43:
        host.annotations = None
    if version < 42:
        host.console_size = [0, 0]
        for mount in host.mounts or ():
            if mount.bind_options is not None:
                mount.bind_options.create_mountpoint = False
    if version < 41:
        host.cgroupns_mode = host.cgroupns_mode or "host"
    if version < 40:
        host.ipc_mode = host.ipc_mode or "shareable"
    if version < 44:
        # Read-only binds were not recursive then.
        for mount in host.mounts or ():
            if mount.type == "bind" and mount.read_only and mount.bind_options is not None:
                mount.bind_options.read_only_non_recursive = True
    return warnings


def _move_mac(body: CreateBody, host: HostConfig, endpoints: dict[str, EndpointSettings | None]) -> None:
    """Until 1.44 the address stood in the config, and meant the endpoint of the network mode."""
    mode = "bridge" if host.network_mode in ("", "default") else host.network_mode
    settings = endpoints.get(mode) or EndpointSettings()
    settings.mac_address = settings.mac_address or body.mac_address
    if body.networking_config is None:
        body.networking_config = NetworkingConfig(endpoints_config=dict(endpoints))
    body.networking_config.endpoints_config[mode] = settings
