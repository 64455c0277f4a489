"""network ls, create, rm, connect, disconnect."""

from __future__ import annotations

import ipaddress
import sys

from onggi.cli.command import Command, Exit, each
from onggi.cli.filters import parse_filters
from onggi.cli.tables import Columns
from onggi.client import networks
from onggi.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_HEADERS = {
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv6": "IPV6", "IPv4": "IPV4", "Internal": "INTERNAL",
    "Labels": "LABELS", "CreatedAt": "CREATED AT",
}  # fmt: skip
_RAW = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n"
_COLUMNS = Columns(_HEADERS, ["ID", "Name", "Driver", "Scope"], "*network.networkContext", _RAW)


def _ls(context: Context, options: Options, words: list[str]) -> None:
    del words
    listed = context.engine(networks.listing(parse_filters(options.list("filter"))))
    found = sorted(listed, key=lambda one: one["Name"])
    full = options.on("no-trunc")
    format = options.text("format") or ("" if options.on("quiet") else context.config.text("networksFormat"))
    if options.on("quiet") and format in ("", "table"):
        sys.stdout.write("".join(f"{one['Id'] if full else one['Id'][:12]}\n" for one in found))
        return
    _COLUMNS.print([_row(one, full=full) for one in found], format)


def _row(one: Json, *, full: bool) -> Json:
    labels = one.get("Labels") or {}
    return {
        "ID": one["Id"] if full else one["Id"][:12], "Name": one["Name"], "Driver": one["Driver"], "Scope": one["Scope"],
        "IPv6": str(one.get("EnableIPv6", False)).lower(), "IPv4": str(one.get("EnableIPv4", True)).lower(),
        "Internal": str(one.get("Internal", False)).lower(), "CreatedAt": _time(one.get("Created") or ""),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())), "Label": lambda key: labels.get(key, ""),
    }  # fmt: skip


def _time(text: str) -> str:
    from onggi.cli.template_values import GoTime

    return GoTime(text).shown()


def _create(context: Context, options: Options, words: list[str]) -> None:
    config: Json = {
        "Name": words[0], "Driver": options.text("driver"), "Internal": options.on("internal"), "Attachable": options.on("attachable"),
        "Ingress": options.on("ingress"), "Scope": options.text("scope"), "ConfigOnly": options.on("config-only"),
        "ConfigFrom": {"Network": options.text("config-from")} if options.text("config-from") else None,
        "Options": options.map("opt"), "Labels": options.map("label"),
        "IPAM": {"Driver": options.text("ipam-driver"), "Options": options.map("ipam-opt"), "Config": _ipam(options)},
    }  # fmt: skip
    for flag, field in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if flag in options.given:
            config[field] = options.on(flag)
    made = context.engine(networks.create(config))
    if made.get("Warning"):
        sys.stderr.write(f"WARNING: {made['Warning']}\n")
    sys.stdout.write(made["Id"] + "\n")


def _ipam(options: Options) -> list[Json]:
    """One entry a subnet, with the ranges, gateways and addresses that lie in it. Raises Exit."""
    subnets, ranges, gateways = options.list("subnet"), options.list("ip-range"), options.list("gateway")
    if len(subnets) < max(len(ranges), len(gateways)):
        raise Exit(1, "every ip-range or gateway must have a corresponding subnet")
    parsed = {text: _network(text, len(subnets)) for text in subnets}
    entries: dict[str, Json] = {text: {"Subnet": text} for text in subnets}
    nets = [net for net in parsed.values() if net]
    if any(one.overlaps(other) for at, one in enumerate(nets) for other in nets[:at] if one.version == other.version):
        raise Exit(1, "multiple overlapping subnet configuration is not supported")

    def owner(address: str, what: str) -> Json:
        for text, net in parsed.items():
            if net and ipaddress.ip_address(address.partition("/")[0]) in net:
                return entries[text]
        raise Exit(1, f"no matching subnet for {what} {address}")

    for field, what, plural, addresses in (
        ("IPRange", "range", "ranges", ranges),
        ("Gateway", "gateway", "gateways", gateways),
    ):
        for address in addresses:
            entry = owner(address, what)
            if field in entry:
                on = "on" if what == "range" else "for"
                raise Exit(
                    1,
                    f"cannot configure multiple {plural} ({address}, {entry[field]}) {on} the same subnet ({entry['Subnet']})",
                )
            entry[field] = address
    for name, address in options.map("aux-address").items():
        if address:
            owner(address, "aux-address").setdefault("AuxiliaryAddresses", {})[name] = address
    return list(entries.values())


def _network(text: str, count: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """None for what only the engine will refuse: docker's client looks at subnets when there is something to compare."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        if count > 1:
            raise Exit(1, f"invalid subnet: invalid CIDR address: {text}") from None
        return None


def _rm(context: Context, options: Options, words: list[str]) -> None:
    def remove(name: str) -> None:
        try:
            context.engine(networks.remove(name))
        except ApiError as error:
            if options.on("force") and error.code == 404:
                return
            raise
        sys.stdout.write(name + "\n")

    each(words, remove, echo=False, tail="exit status 1")


def _connect(context: Context, options: Options, words: list[str]) -> None:
    endpoint: Json = {"Aliases": options.list("alias") or None, "Links": options.list("link") or None}
    given = {"IPv4Address": options.text("ip"), "IPv6Address": options.text("ip6"), "LinkLocalIPs": options.list("link-local-ip")}  # fmt: skip
    if address := {key: value for key, value in given.items() if value}:
        endpoint["IPAMConfig"] = address
    if options.list("driver-opt"):
        if any("=" not in word for word in options.list("driver-opt")):
            raise Exit(1, "invalid key/value pair format in driver options")
        endpoint["DriverOpts"] = options.map("driver-opt")
    if "gw-priority" in options.given:
        endpoint["GwPriority"] = options.number("gw-priority")
    context.engine(networks.connect(words[0], words[1], endpoint))


def _disconnect(context: Context, options: Options, words: list[str]) -> None:
    context.engine(networks.disconnect(words[0], words[1], force=options.on("force")))


COMMANDS = {
    "ls": Command(
        _ls, "[OPTIONS]", "List networks",
        """
-f --filter filter:filter  Provide filter values (e.g. "driver=bridge")
   --format string  Format output using a custom template
   --no-trunc bool  Do not truncate the output
-q --quiet bool  Only display network IDs
""",
        most=0,
    ),
    "create": Command(
        _create, "[OPTIONS] NETWORK", "Create a network",
        """
   --attachable bool  Enable manual container attachment
   --aux-address map  Auxiliary IPv4 or IPv6 addresses used by Network driver
   --config-from string  Network to take the configuration from
   --config-only bool  Keep a configuration, create no network
-d --driver string=bridge  Driver to manage the Network
   --gateway ipSlice:ip  IPv4 or IPv6 Gateway for the master subnet
   --ingress bool  Create the routing-mesh network of a swarm
   --internal bool  Restrict external access to the network
   --ip-range ipNetSlice:cidr  Allocate container ip from a sub-range
   --ipam-driver string=default  IP Address Management Driver
   --ipam-opt map  Set IPAM driver specific options
   --ipv4 bool=true  Enable or disable IPv4 address assignment
   --ipv6 bool  Enable or disable IPv6 address assignment
   --label list:label  Set metadata on a network
-o --opt map  Set driver specific options
   --scope string  Reach of the network: local or swarm
   --subnet strings  Subnet in CIDR format that represents a network segment
""",
        least=1, most=1,
    ),
    "rm": Command(_rm, "NETWORK [NETWORK...]", "Remove one or more networks", "-f --force bool  Do not error if the network does not exist", least=1),
    "connect": Command(
        _connect, "[OPTIONS] NETWORK CONTAINER", "Connect a container to a network",
        """
   --alias strings  Add network-scoped alias for the container
   --driver-opt strings  driver options for the network
   --gw-priority int  Which network gives the container its default gateway: the highest priority wins
   --ip ip  IPv4 address (e.g., "172.30.100.104")
   --ip6 ip  IPv6 address (e.g., "2001:db8::33")
   --link list:link  Add link to another container
   --link-local-ip ipSlice:ip  Add a link-local address for the container
""",
        least=2, most=2,
    ),
    "disconnect": Command(
        _disconnect, "[OPTIONS] NETWORK CONTAINER", "Disconnect a container from a network",
        "-f --force bool  Force the container to disconnect from a network", least=2, most=2,
    ),
}  # fmt: skip
