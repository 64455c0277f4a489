"""The engine's one nft table: rules as text, made from what must hold. Pure but for `apply`.

Priorities: our chains run at the hooks' standard ones (dstnat -100, filter 0, srcnat 100), so an administrator's chain with
a lower number sees packets first. Published ports are elements of maps: one is added, moved or taken away in a transaction of
its own, and connections that are under way stay where conntrack has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onggi.kernel import nftables

MARK = 0x6F67
"""Connections to a published port, marked at the translation: the filter lets these through and no others."""


@dataclass(frozen=True, slots=True)
class BridgeRules:
    """What the rules need to know of a network."""

    bridge: str
    subnet: str
    internal: bool = False
    icc: bool = True
    masquerade: bool = True


@dataclass(frozen=True, slots=True)
class Forward:
    """host_ip:host_port/protocol → container's address and port. `host_ip` 0.0.0.0 is every address."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int


def table_text(table: str, bridges: Iterable[BridgeRules], forwards: Iterable[Forward]) -> str:
    """The whole table, to take the place of what is there in one transaction."""
    bridges = list(bridges)
    names = _set(bridge.bridge for bridge in bridges)
    subnets = _set(bridge.subnet for bridge in bridges if bridge.subnet)
    maps = "".join(_map_text(name, protocol, elements) for name, protocol, elements in _maps(list(forwards)))
    filter_rules, nat_rules = [], []
    for bridge in bridges:
        nat_rules += _source_rules(bridge)
        filter_rules += _filter_rules(bridge)
    has = bool(bridges)
    return f"""
table ip {table} {{}}
delete table ip {table}
table ip {table} {{
{maps}
    chain raw {{
        type filter hook prerouting priority -300; policy accept;
        {f"ip daddr {subnets} iifname != {names} iifname != lo fib daddr type != local drop" if has else ""}
        ip daddr 127.0.0.0/8 iifname != lo drop
    }}
    chain prerouting {{
        type nat hook prerouting priority -100; policy accept;
        fib daddr type local jump publish
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump publish
    }}
    chain publish {{
        ct mark set {MARK} dnat to ip daddr . tcp dport map @tcp_at
        ct mark set {MARK} dnat to tcp dport map @tcp_any
        ct mark set {MARK} dnat to ip daddr . udp dport map @udp_at
        ct mark set {MARK} dnat to udp dport map @udp_any
    }}
    chain postrouting {{
        type nat hook postrouting priority 100; policy accept;
        {f"ip saddr 127.0.0.0/8 oifname {names} masquerade" if has else ""}
        {"".join(nat_rules)}
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        {f"ct state established,related oifname {names} accept" if has else ""}
        {f"ct status dnat ct mark {MARK} oifname {names} accept" if has else ""}
        {"".join(filter_rules)}
    }}
}}
"""


def _set(names: Iterable[str]) -> str:
    return "{ " + ", ".join(f'"{name}"' if "/" not in name else name for name in names) + " }"


def _source_rules(bridge: BridgeRules) -> list[str]:
    if bridge.internal or not bridge.masquerade or not bridge.subnet:
        return []
    # Out of the bridge with another's address; and back into it, when a container asks for a published port of its own network.
    return [
        f'ip saddr {bridge.subnet} oifname != "{bridge.bridge}" masquerade\n        ',
        f'ip saddr {bridge.subnet} oifname "{bridge.bridge}" ct status dnat ct mark {MARK} masquerade\n        ',
    ]


def _filter_rules(bridge: BridgeRules) -> list[str]:
    name = bridge.bridge
    rules = []
    if bridge.internal:
        rules += [
            f'iifname "{name}" oifname != "{name}" drop\n        ',
            f'oifname "{name}" iifname != "{name}" drop\n        ',
        ]
    if not bridge.icc:
        rules.append(f'iifname "{name}" oifname "{name}" drop\n        ')
    else:
        rules.append(f'iifname "{name}" oifname "{name}" accept\n        ')
    # Nothing comes in that was not asked for and is not published: other networks' containers and the host's neighbours alike.
    rules.append(f'oifname "{name}" drop\n        ')
    return rules


def _maps(forwards: list[Forward]) -> list[tuple[str, str, list[Forward]]]:
    return [
        (f"{protocol}_{kind}", protocol, [f for f in forwards if f.protocol == protocol and (f.host_ip != "0.0.0.0") == (kind == "at")])
        for protocol in ("tcp", "udp") for kind in ("any", "at")
    ]  # fmt: skip


def _map_text(name: str, protocol: str, forwards: list[Forward]) -> str:
    del protocol
    key = "ipv4_addr . inet_service" if name.endswith("_at") else "inet_service"
    elements = ", ".join(_element(forward) for forward in forwards)
    body = f"elements = {{ {elements} }}" if elements else ""
    return f"    map {name} {{\n        type {key} : ipv4_addr . inet_service\n        {body}\n    }}\n"


def _key(forward: Forward) -> str:
    return str(forward.host_port) if forward.host_ip == "0.0.0.0" else f"{forward.host_ip} . {forward.host_port}"


def _element(forward: Forward) -> str:
    return f"{_key(forward)} : {forward.address} . {forward.port}"


def _map_of(forward: Forward) -> str:
    return f"{forward.protocol}_{'any' if forward.host_ip == '0.0.0.0' else 'at'}"


def changes_text(table: str, *, remove: Iterable[Forward] = (), add: Iterable[Forward] = ()) -> str:
    """Elements taken away and put in, in one transaction: a port that moves is never without an owner."""
    lines = [f"delete element ip {table} {_map_of(f)} {{ {_key(f)} }}" for f in remove]
    lines += [f"add element ip {table} {_map_of(f)} {{ {_element(f)} }}" for f in add]
    return "\n".join(lines)


def exists(table: str) -> bool:
    return ("ip", table) in nftables.tables()


def remove(table: str) -> None:
    """What isn't there is fine."""
    nftables.apply(f"table ip {table} {{}}\ndelete table ip {table}\n")


def foreign_forward_drops() -> list[tuple[str, str, str]]:
    """(family, table, chain) of base chains of others at the forward hook whose policy is drop: dockerd's `ip filter FORWARD`.

    A packet must pass every base chain: our accept does not help where another's policy drops.
    """
    found = []
    for item in nftables.query("list chains"):
        chain = item.get("chain")
        if not isinstance(chain, dict) or chain.get("hook") != "forward" or chain.get("policy") != "drop":
            continue
        if not str(chain["table"]).startswith("onggi-") and chain["family"] in ("ip", "inet"):
            found.append((str(chain["family"]), str(chain["table"]), str(chain["name"])))
    return found
