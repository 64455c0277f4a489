"""What it takes to make one container: a runtime spec, and what a spec has no words for.

Pure data. The engine (or a bundle) makes a plan; init.py carries it out.
"""

from __future__ import annotations

import msgspec

from onggi.oci.runtime import Spec
from onggi.runtime.notifying import ListenerPlan


class RootfsPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """An overlay of `lower` (topmost first) with `upper` and `work`, or the directory `path` as it is.

    The overlay is mounted in the container's own mount namespace: the host's table never shows it, and it goes with
    the last process.
    """

    lower: list[str] = []
    upper: str = ""
    work: str = ""
    path: str = ""
    no_pivot: bool = False
    limited: bool = False
    """A quota holds for `upper`, which the right to pass over quotas must not undo."""


class RoutePlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A route in the container: `destination` in CIDR, through `gateway` or straight out of the link."""

    destination: str
    gateway: str = ""


class LinkPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """One veth pair: its host end in `bridge`, its other end called `name` in the container.

    `addresses` in CIDR; gateways are those of the default routes, empty for none. `isolated`: it exchanges nothing with
    other isolated ports of the bridge. `hairpin`: it may reach itself by a port that it has published (where br_netfilter
    translates frames, they are sent back without being routed).
    """

    host_name: str
    bridge: str
    name: str = "eth0"
    mac: str = ""
    addresses: list[str] = []
    gateway4: str = ""
    gateway6: str = ""
    mtu: int = 1500
    routes: list[RoutePlan] = []
    isolated: bool = False
    hairpin: bool = False


class InitPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container to be made.

    `user` is docker's "name|uid[:group|gid]", looked up in the container's own files; "" takes spec.process.user.
    `seccomp` is a compiled filter, empty for none; who answers for calls that it sends on is `listener`. `dns`: sockets on 127.0.0.11 are made inside and handed out.
    `init`: process 1 is a reaper of ours that starts the process and forwards signals. `preserve_fds`: descriptors
    3 to 2+n stay open. `keyring` names the session keyring, "" keeps the caller's. `container_id` and `bundle` are what
    the spec's hooks are told.
    """

    spec: Spec
    rootfs: RootfsPlan
    links: list[LinkPlan] = []
    user: str = ""
    groups: list[str] = []
    seccomp: bytes = b""
    seccomp_flags: int = 0
    listener: ListenerPlan | None = None
    dns: bool = False
    init: bool = False
    preserve_fds: int = 0
    keyring: str = "_ses"
    container_id: str = ""
    bundle: str = ""
