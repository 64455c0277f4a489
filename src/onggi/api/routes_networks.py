"""Networks: create, list, inspect, connect, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from onggi.api import filternames
from onggi.api.answers import empty, json_answer
from onggi.api.shapes_networks import document, members, network_test, prune_test, status
from onggi.api.table import Routes
from onggi.engine.config import EndpointSettings
from onggi.errors import InvalidArgument, NotFound
from onggi.network import IpamConfig

if TYPE_CHECKING:
    from aiohttp.web_response import StreamResponse

    from onggi.api.call import Call

routes = Routes()


class IpamConfigBody(msgspec.Struct):
    """One subnet; names are Go's."""

    Subnet: str = ""
    IPRange: str = ""
    Gateway: str = ""
    AuxiliaryAddresses: dict[str, str] | None = None


class IpamBody(msgspec.Struct):
    Driver: str = "default"
    Config: list[IpamConfigBody] | None = None
    Options: dict[str, str] | None = None


class NetworkBody(msgspec.Struct):
    """POST /networks/create."""

    Name: str = ""
    Driver: str = ""
    Scope: str = ""
    Internal: bool = False
    Attachable: bool = False
    Ingress: bool = False
    ConfigOnly: bool = False
    ConfigFrom: dict[str, Any] | None = None
    IPAM: IpamBody | None = None
    EnableIPv4: bool | None = None
    EnableIPv6: bool | None = None
    Options: dict[str, str] | None = None
    Labels: dict[str, str] | None = None
    CheckDuplicate: bool = False


class ConnectBody(msgspec.Struct):
    """POST /networks/{id}/connect."""

    Container: str = ""
    EndpointConfig: EndpointSettings | None = None


class DisconnectBody(msgspec.Struct):
    """POST /networks/{id}/disconnect."""

    Container: str = ""
    Force: bool = False


@routes.on("GET", "/networks", "E-059")
@routes.on("GET", "/networks/", "E-059")
async def list_networks(call: Call) -> StreamResponse:
    """Without containers: only a look at one network tells who is in it (1.28)."""
    filters = call.query.filters(filternames.NETWORKS)
    found = call.engine.networks.list()
    wanted = network_test(filters, call.engine)
    return json_answer([document(network, call.version, None) for network in found if wanted(network)])


@routes.on("GET", "/networks/{id}", "E-060")
async def inspect(call: Call) -> StreamResponse:
    scope = call.query.text("scope")
    network = call.engine.networks.resolve(call.params["id"])
    if scope not in ("", "local"):
        raise NotFound(f"network {call.params['id']} not found")
    found = document(network, call.version, members(network, call.engine))
    if call.version >= 52:
        found["Status"] = status(network, call.engine)
    return json_answer(found)


@routes.on("DELETE", "/networks/{id}", "E-061")
async def remove(call: Call) -> StreamResponse:
    await call.engine.endpoints.remove_network(call.params["id"])
    return empty()


@routes.on("POST", "/networks/create", "E-062")
async def create(call: Call) -> StreamResponse:
    body = await call.json(NetworkBody)
    for given, name in ((body.ConfigOnly, "config-only networks"), (body.Ingress, "ingress networks")):
        if given:
            raise InvalidArgument(f"{name} need swarm mode, which this engine doesn't provide")
    if body.Scope not in ("", "local"):
        raise InvalidArgument(f"invalid scope {body.Scope!r}: only local networks are provided")
    ipam = body.IPAM or IpamBody()
    if ipam.Driver not in ("", "default"):
        raise NotFound(f'could not find an IPAM driver with name "{ipam.Driver}"')
    if body.EnableIPv4 is False and call.version >= 48:
        raise InvalidArgument("networks without IPv4 are not provided")
    network = await call.engine.endpoints.create_network(
        body.Name,
        driver=body.Driver or "bridge",
        ipam=[
            IpamConfig(each.Subnet, each.Gateway, each.IPRange, each.AuxiliaryAddresses or {})
            for each in ipam.Config or ()
        ],
        internal=body.Internal,
        attachable=body.Attachable,
        ipv6=bool(body.EnableIPv6),
        options=body.Options,
        labels=body.Labels,
    )
    return json_answer({"Id": network.id, "Warning": ""}, 201)


@routes.on("POST", "/networks/{id}/connect", "E-063")
async def connect(call: Call) -> StreamResponse:
    body = await call.json(ConnectBody)
    settings = body.EndpointConfig or EndpointSettings()
    if call.version < 54:
        settings.mac_address = ""
    network = call.engine.networks.resolve(call.params["id"])
    await call.engine.endpoints.connect(call.engine.containers.get(body.Container), network, settings)
    return empty(200)


@routes.on("POST", "/networks/{id}/disconnect", "E-064")
async def disconnect(call: Call) -> StreamResponse:
    body = await call.json(DisconnectBody)
    network = call.engine.networks.resolve(call.params["id"])
    await call.engine.endpoints.disconnect(call.engine.containers.get(body.Container), network, force=body.Force)
    return empty(200)


@routes.on("POST", "/networks/prune", "E-065")
async def prune(call: Call) -> StreamResponse:
    filters = call.query.filters(filternames.NETWORKS_PRUNE)
    names = await call.engine.endpoints.prune_networks(prune_test(filters))
    call.engine.events.emit("network", "prune", "", {"reclaimed": "0"})
    return json_answer({"NetworksDeleted": names or None})
