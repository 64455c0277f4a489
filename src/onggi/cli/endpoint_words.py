"""What --network and its companions say: the container's network mode, and its endpoint in each network."""

from __future__ import annotations

from onggi.cli import mountwords
from onggi.cli.flags import Options, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json


def is_user_defined(name: str) -> bool:
    return name not in ("default", "bridge", "host", "none") and not name.startswith("container:")


def endpoints(options: Options) -> tuple[str, Json]:
    """(NetworkMode, EndpointsConfig). Raises UsageError.

    --ip, --network-alias, --mac-address … speak of the first network. One network without settings needs no endpoint.
    """
    words = options.list("network") + options.list("net")
    attachments = [mountwords.network(word) for word in words] or [("default", {})]
    found: Json = {}
    for at, (name, endpoint) in enumerate(attachments):
        if at == 0:
            _apply(options, name, endpoint)
        _refuse(name, endpoint)
        if name in found:
            raise UsageError(f'network "{name}" is specified multiple times')
        if endpoint or len(attachments) > 1:
            found[name] = endpoint
    kinds = {is_user_defined(name) for name, _ in attachments}
    if len(kinds) > 1:
        raise UsageError("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    return attachments[0][0], found


def _apply(options: Options, name: str, endpoint: Json) -> None:
    aliases = options.list("network-alias") + options.list("net-alias")
    address: Json = endpoint.get("IPAMConfig", {})
    for mine, flag, other in (
        (endpoint.get("Aliases") and aliases, "--network-alias", "alias"),
        (address.get("IPv4Address") and options.text("ip"), "--ip", "IPv4 address"),
        (address.get("IPv6Address") and options.text("ip6"), "--ip6", "IPv6 address"),
        (endpoint.get("MacAddress") and options.text("mac-address"), "--mac-address", "MAC address"),
        (address.get("LinkLocalIPs") and options.list("link-local-ip"), "--link-local-ip", "link-local IP addresses"),
    ):
        if mine:
            raise UsageError(f"conflicting options: cannot specify both {flag} and per-network {other}")
    if aliases:
        endpoint["Aliases"] = aliases
    if is_user_defined(name) and options.list("link"):
        endpoint["Links"] = options.list("link")
    given = {"IPv4Address": options.text("ip"), "IPv6Address": options.text("ip6"), "LinkLocalIPs": options.list("link-local-ip")}  # fmt: skip
    address = address | {key: value for key, value in given.items() if value}
    if address:
        endpoint["IPAMConfig"] = address
    if options.text("mac-address"):
        endpoint["MacAddress"] = options.text("mac-address")


def _refuse(name: str, endpoint: Json) -> None:
    if not name.strip():
        raise UsageError("no name set for network")
    if not is_user_defined(name):
        if endpoint.get("Aliases"):
            raise UsageError("network-scoped aliases are only supported for user-defined networks")
        if endpoint.get("Links"):
            raise UsageError("links are only supported for user-defined networks")
    mac = endpoint.get("MacAddress")
    if mac and not _is_mac(str(mac)):
        raise UsageError(f"{mac} is not a valid mac address")


def _is_mac(text: str) -> bool:
    """EUI-48, EUI-64 or 20 octets of InfiniBand, with colons, dashes, or dots in fours."""
    import re

    pairs = re.fullmatch(r"[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2})*)", text.strip())
    fours = re.fullmatch(r"[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4})+", text.strip())
    return bool(pairs or fours) and len(re.sub("[^0-9A-Fa-f]", "", text)) in (12, 16, 40)
