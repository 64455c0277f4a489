"""The engine's one nft table: rules as text, made from what must hold. Pure but for `apply`.

It is of family inet, so that IPv6 has the filter that IPv4 has (S-62). Priorities: our chains run at the hooks' standard
ones (dstnat -100, filter 0, srcnat 100), so an administrator's chain with a lower number sees packets first (S-61).
Published ports are elements of maps: one is added, moved or taken away in a transaction of its own, and connections that are
under way stay where conntrack has them. A packet whose destination was translated on this host (`ct status dnat`) was
let in by somebody with the right to do so; no container can bring that about.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onggi.kernel import nftables

EVERYWHERE = ("0.0.0.0", "::")
"""A host's address that stands for all of its family."""


@dataclass(frozen=True, slots=True)
class BridgeRules:
    """What the rules need to know of a network."""

    bridge: str
    subnet: str
    subnet6: str = ""
    internal: bool = False
    icc: bool = True
    masquerade: bool = True


@dataclass(frozen=True, slots=True)
class Forward:
    """host_ip:host_port/protocol → container's address and port, both IPv4 or both IPv6."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int


def table_text(table: str, bridges: Iterable[BridgeRules], forwards: Iterable[Forward]) -> str:
    """The whole table, to take the place of what is there in one transaction."""
    bridges = list(bridges)
    maps = "".join(_map_text(name, elements) for name, elements in _maps(list(forwards)))
    return f"""
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
{maps}
    chain raw {{
        type filter hook prerouting priority -300; policy accept;
        {_lines(_raw_rules(bridges))}
    }}
    chain spoofed {{
        type filter hook prerouting priority -150; policy accept;
        {_lines(rule for bridge in bridges for rule in _spoof_rules(bridge))}
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
        dnat ip to ip daddr . tcp dport map @tcp_at
        meta nfproto ipv4 dnat ip to tcp dport map @tcp_any
        dnat ip to ip daddr . udp dport map @udp_at
        meta nfproto ipv4 dnat ip to udp dport map @udp_any
        ip6 daddr ::1 return
        dnat ip6 to ip6 daddr . tcp dport map @tcp6_at
        meta nfproto ipv6 dnat ip6 to tcp dport map @tcp6_any
        dnat ip6 to ip6 daddr . udp dport map @udp6_at
        meta nfproto ipv6 dnat ip6 to udp dport map @udp6_any
    }}
    chain postrouting {{
        type nat hook postrouting priority 100; policy accept;
        {_lines(_source_rules(bridges))}
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        {_lines(_filter_rules(bridges))}
    }}
}}
"""


def _lines(rules: Iterable[str]) -> str:
    return "\n        ".join(rules)


def _set(words: Iterable[str]) -> str:
    return "{ " + ", ".join(words) + " }"


def _names(bridges: Iterable[BridgeRules], *more: str) -> str:
    return _set(f'"{name}"' for name in (*(bridge.bridge for bridge in bridges), *more))


def _raw_rules(bridges: list[BridgeRules]) -> list[str]:
    """S-60: who isn't on a bridge of ours reaches a container's address only by a published port of the host's.

    A network without masquerading is one that others route to: what comes there is for chain forward to judge, which knows
    connections. 127.0.0.0/8 can be routed to our bridges, so it must not come in from anywhere.
    """
    rules = []
    for word, subnets in (
        ("ip", [b.subnet for b in bridges if b.subnet and (b.masquerade or b.internal)]),
        ("ip6", [b.subnet6 for b in bridges if b.subnet6 and (b.masquerade or b.internal)]),
    ):
        if subnets:
            outside = _names(bridges, "lo")
            rules.append(f"{word} daddr {_set(subnets)} iifname != {outside} fib daddr type != local drop")
    return [*rules, 'ip daddr 127.0.0.0/8 iifname != "lo" drop']


def _spoof_rules(bridge: BridgeRules) -> list[str]:
    """S-63: no connection begins on a bridge with a source that isn't of its subnets."""
    sources = [bridge.subnet] if bridge.subnet else []
    sources6 = [bridge.subnet6] if bridge.subnet6 else []
    return [
        f'iifname "{bridge.bridge}" ct state new ip saddr != {_set([*sources, "0.0.0.0"])} drop',
        f'iifname "{bridge.bridge}" ct state new ip6 saddr != {_set([*sources6, "fe80::/10", "::"])} drop',
    ]


def _source_rules(bridges: list[BridgeRules]) -> list[str]:
    """Out of the bridge with another's address; and back into it, when a container asks for a published port of its network."""
    rules = [f"ip saddr 127.0.0.0/8 oifname {_names(bridges)} masquerade"] if bridges else []
    for bridge in bridges:
        if bridge.internal:
            continue
        for word, subnet in (("ip", bridge.subnet), ("ip6", bridge.subnet6)):
            if subnet and bridge.masquerade:
                rules.append(f'{word} saddr {subnet} oifname != "{bridge.bridge}" masquerade')
            if subnet:
                rules.append(f'{word} saddr {subnet} oifname "{bridge.bridge}" ct status dnat masquerade')
    return rules


def _filter_rules(bridges: list[BridgeRules]) -> list[str]:
    """Internal networks first: nothing leaves them, by a port that another network has published neither."""
    if not bridges:
        return []
    rules = []
    for bridge in bridges:
        if bridge.internal:
            name = bridge.bridge
            rules += [f'iifname "{name}" oifname != "{name}" drop', f'oifname "{name}" iifname != "{name}" drop']
    ours = _names(bridges)
    rules.append(f"ct state established,related oifname {ours} accept")
    rules.append(f"ct status dnat oifname {ours} accept")
    for bridge in bridges:
        verdict = "accept" if bridge.icc else "drop"
        rules.append(f'iifname "{bridge.bridge}" oifname "{bridge.bridge}" {verdict}')
    # Nothing comes in that was not asked for and is not published: other networks' containers and the host's neighbours alike.
    rules.append(f"oifname {ours} drop")
    return rules


def _maps(forwards: list[Forward]) -> list[tuple[str, list[Forward]]]:
    names = [f"{word}_{kind}" for word in ("tcp", "udp", "tcp6", "udp6") for kind in ("any", "at")]
    return [(name, [forward for forward in forwards if _map_of(forward) == name]) for name in names]


def _map_text(name: str, forwards: list[Forward]) -> str:
    address = "ipv6_addr" if "6_" in name else "ipv4_addr"
    key = f"{address} . inet_service" if name.endswith("_at") else "inet_service"
    elements = ", ".join(_element(forward) for forward in forwards)
    body = f"elements = {{ {elements} }}" if elements else ""
    return f"    map {name} {{\n        type {key} : {address} . inet_service\n        {body}\n    }}\n"


def _key(forward: Forward) -> str:
    return str(forward.host_port) if forward.host_ip in EVERYWHERE else f"{forward.host_ip} . {forward.host_port}"


def _element(forward: Forward) -> str:
    return f"{_key(forward)} : {forward.address} . {forward.port}"


def _map_of(forward: Forward) -> str:
    family, kind = "6" if ":" in forward.host_ip else "", "any" if forward.host_ip in EVERYWHERE else "at"
    return f"{forward.protocol}{family}_{kind}"


def changes_text(table: str, *, remove: Iterable[Forward] = (), add: Iterable[Forward] = ()) -> str:
    """Elements taken away and put in, in one transaction: a port that moves is never without an owner."""
    lines = [f"delete element inet {table} {_map_of(f)} {{ {_key(f)} }}" for f in remove]
    lines += [f"add element inet {table} {_map_of(f)} {{ {_element(f)} }}" for f in add]
    return "\n".join(lines)


def remove(table: str) -> None:
    """What isn't there is fine."""
    nftables.apply(f"table inet {table} {{}}\ndelete table inet {table}\n")


State = tuple[frozenset[str], frozenset[tuple[str, str]]]
"""What a table holds: everything but map elements as JSON, and the elements as (map, JSON)."""


def state(table: str) -> State:
    """As the kernel has it now; empty when the table is gone. Compared with what `state` said after our own last change."""
    try:
        items = nftables.query(f"list table inet {table}", terse=False)
    except OSError:
        return frozenset(), frozenset()
    skeleton, elements = set(), set()
    for item in items:
        ((kind, body),) = item.items()
        if kind == "metainfo" or not isinstance(body, dict):
            continue
        body.pop("handle", None)
        for element in body.pop("elem", []) if kind == "map" else []:
            elements.add((str(body["name"]), json.dumps(element)))
        skeleton.add(json.dumps({kind: body}))
    return frozenset(skeleton), frozenset(elements)


def elements(forwards: Iterable[Forward]) -> frozenset[tuple[str, str]]:
    """The maps' elements as `state` has them."""
    found = set()
    for one in forwards:
        key = one.host_port if one.host_ip in EVERYWHERE else {"concat": [one.host_ip, one.host_port]}
        found.add((_map_of(one), json.dumps([key, {"concat": [one.address, one.port]}])))
    return frozenset(found)


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


def pass_foreign_drops(table: str, bridges: Sequence[str]) -> None:
    """In chains that drop what they don't know, our bridges' packets pass; their own rules come first and hold (S-61).

    Our rules bear our table's name as a comment; those that are there and right are left alone. Without bridges they go.
    """
    wanted = {(side, bridge) for bridge in bridges for side in ("iifname", "oifname")}
    for family, foreign, chain in foreign_forward_drops():
        have = _own_rules(table, f"{family} {foreign} {chain}")
        lines = [
            f"delete rule {family} {foreign} {chain} handle {handle}"
            for handle, rule in have if rule not in wanted
        ] + [
            f'add rule {family} {foreign} {chain} {side} "{bridge}" accept comment "{table}"'
            for side, bridge in sorted(wanted - {rule for _, rule in have})
        ]  # fmt: skip
        if lines:
            nftables.apply("\n".join(lines))


def _own_rules(table: str, chain: str) -> list[tuple[int, tuple[str, str]]]:
    """(handle, (iifname or oifname, bridge)) of our rules in another's chain."""
    found = []
    for item in nftables.query(f"list chain {chain}"):
        rule = item.get("rule")
        if isinstance(rule, dict) and rule.get("comment") == table:
            match = next((e["match"] for e in rule["expr"] if "match" in e), None)
            key = match["left"]["meta"]["key"] if match else ""
            found.append((int(rule["handle"]), (str(key), str(match["right"]) if match else "")))
    return found
