"""network ls, create, rm, connect, disconnect."""

from __future__ import annotations

import ipaddress
import sys

from onggi.cli.filters import parse_filters
from onggi.cli.main import Command, Exit, each
from onggi.cli.tables import Columns
from onggi.client import networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.flags import Options
    from onggi.cli.main import Context
    from onggi.client.shapes import Json

_HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv6": "IPV6",
    "IPv4": "IPV4",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def _ls(context: Context, options: Options, words: list[str]) -> None:
    del words
    listed = context.engine(networks.listing(parse_filters(options.list("filter"))))
    found = sorted(listed, key=lambda one: one["Name"])
    full = options.on("no-trunc")
    if options.on("quiet"):
        sys.stdout.write("".join(f"{one['Id'] if full else one['Id'][:12]}\n" for one in found))
        return
    rows = [
        {
            "ID": one["Id"] if full else one["Id"][:12], "Name": one["Name"], "Driver": one["Driver"], "Scope": one["Scope"],
            "IPv6": str(one.get("EnableIPv6", False)).lower(), "IPv4": str(one.get("EnableIPv4", True)).lower(),
            "Internal": str(one.get("Internal", False)).lower(), "CreatedAt": one.get("Created", ""),
            "Labels": ",".join(f"{key}={value}" for key, value in sorted((one.get("Labels") or {}).items())),
        }
        for one in found
    ]  # fmt: skip
    Columns(_HEADERS, ["ID", "Name", "Driver", "Scope"]).print(rows, options.text("format"))


def _create(context: Context, options: Options, words: list[str]) -> None:
    config: Json = {
        "Name": words[0], "Driver": options.text("driver"), "Internal": options.on("internal"), "Attachable": options.on("attachable"),
        "EnableIPv6": options.on("ipv6"), "Options": options.map("opt"), "Labels": options.map("label"),
        "IPAM": {"Driver": options.text("ipam-driver"), "Options": options.map("ipam-opt"), "Config": _ipam(options)},
    }  # fmt: skip
    made = context.engine(networks.create(config))
    if made.get("Warning"):
        sys.stderr.write(f"WARNING: {made['Warning']}\n")
    sys.stdout.write(made["Id"] + "\n")


def _ipam(options: Options) -> list[Json]:
    """One entry a subnet, with the ranges, gateways and addresses that lie in it. Raises Exit."""
    subnets = options.list("subnet")
    entries: dict[str, Json] = {subnet: {"Subnet": subnet} for subnet in subnets}

    def owner(address: str, what: str) -> Json:
        for subnet, entry in entries.items():
            network = ipaddress.ip_network(subnet, strict=False)
            if ipaddress.ip_address(address.partition("/")[0]) in network:
                return entry
        raise Exit(1, f"no matching subnet for {what} {address}")

    try:
        for text in options.list("ip-range"):
            owner(text, "range")["IPRange"] = text
        for text in options.list("gateway"):
            owner(text, "gateway")["Gateway"] = text
        for name, address in options.map("aux-address").items():
            owner(address, "aux-address").setdefault("AuxiliaryAddresses", {})[name] = address
    except ValueError as error:
        raise Exit(1, str(error)) from None
    return list(entries.values())


def _rm(context: Context, options: Options, words: list[str]) -> None:
    del options
    each(words, lambda name: context.engine(networks.remove(name)), tail="exit status 1")


def _connect(context: Context, options: Options, words: list[str]) -> None:
    endpoint: Json = {"Aliases": options.list("alias") or None, "Links": options.list("link") or None}
    address = {
        key: value
        for key, value in (("IPv4Address", options.text("ip")), ("IPv6Address", options.text("ip6")))
        if value
    }
    if address:
        endpoint["IPAMConfig"] = address
    if options.list("driver-opt"):
        endpoint["DriverOpts"] = options.map("driver-opt")
    context.engine(networks.connect(words[0], words[1], endpoint))


def _disconnect(context: Context, options: Options, words: list[str]) -> None:
    context.engine(networks.disconnect(words[0], words[1], force=options.on("force")))


COMMANDS = {
    "ls": Command(
        _ls, "[OPTIONS]", "List networks",
        """
-f --filter list  Provide filter values (e.g. "driver=bridge")
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
-d --driver string=bridge  Driver to manage the Network
   --gateway list  IPv4 or IPv6 Gateway for the master subnet
   --internal bool  Restrict external access to the network
   --ip-range list  Allocate container ip from a sub-range
   --ipam-driver string=default  IP Address Management Driver
   --ipam-opt map  Set IPAM driver specific options
   --ipv6 bool  Enable or disable IPv6 address assignment
   --label list  Set metadata on a network
-o --opt map  Set driver specific options
   --subnet list  Subnet in CIDR format that represents a network segment
""",
        least=1, most=1,
    ),
    "rm": Command(_rm, "NETWORK [NETWORK...]", "Remove one or more networks", "-f --force bool  Do not error if the network does not exist", least=1),
    "connect": Command(
        _connect, "[OPTIONS] NETWORK CONTAINER", "Connect a container to a network",
        """
   --alias list  Add network-scoped alias for the container
   --driver-opt list  driver options for the network
   --ip string  IPv4 address (e.g., "172.30.100.104")
   --ip6 string  IPv6 address (e.g., "2001:db8::33")
   --link list  Add link to another container
""",
        least=2, most=2,
    ),
    "disconnect": Command(
        _disconnect, "[OPTIONS] NETWORK CONTAINER", "Disconnect a container from a network",
        "-f --force bool  Force the container to disconnect from a network", least=2, most=2,
    ),
}  # fmt: skip
