"""Which namespaces a container shares, and what can't be said beside that: checked at create, resolved at a start.

Texts are dockerd's (runconfig/hostconfig_unix.go, daemon/daemon_unix.go): clients match them.
"""

from __future__ import annotations

from collections.abc import Callable

from onggi.engine.config import ContainerConfig, HostConfig
from onggi.errors import InvalidArgument, NotFound

OTHER = "container:"
"""Prefix of a mode that shares another container's namespace; its name or id follows."""
_UNDEFINED = "This would result in undefined behavior"


def check(config: ContainerConfig, host: HostConfig) -> None:
    """Raises InvalidArgument. Fills in the network's mode."""
    host.network_mode = "bridge" if host.network_mode in ("", "default") else host.network_mode
    _check_network(config, host)
    for mode, words, text in (
        (host.ipc_mode, ("", "none", "private", "shareable", "host"), "invalid IPC mode"),
        (host.pid_mode, ("", "host"), "invalid PID mode"),
        (host.uts_mode, ("", "host"), "invalid UTS mode"),
        (host.cgroupns_mode, ("", "private", "host"), "invalid cgroup namespace mode"),
    ):
        shares = text[8:11] in ("IPC", "PID") and _other_of(mode)
        if mode not in words and not shares:
            raise InvalidArgument(f"{text}: {mode}")
    if host.userns_mode not in ("", "host"):
        raise InvalidArgument(f"invalid user namespace mode: {host.userns_mode}")


def _other_of(mode: str) -> str:
    """The container that a mode names, empty for none."""
    return mode.removeprefix(OTHER) if mode.startswith(OTHER) else ""


def _check_network(config: ContainerConfig, host: HostConfig) -> None:
    mode = host.network_mode
    if mode == OTHER:
        raise InvalidArgument("invalid network mode: invalid container format container:<name|id>")
    if host.uts_mode == "host" and config.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if mode == "host" and host.links:
        raise InvalidArgument(f"conflicting options: host type networking can't be used with links. {_UNDEFINED}")
    if not mode.startswith(OTHER):
        return
    for is_given, text in (
        (config.hostname, "hostname and the network mode"),
        (host.links, f"container type network can't be used with links. {_UNDEFINED}"),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
        (config.exposed_ports, "port exposing and the container type network mode"),
    ):
        if is_given:
            raise InvalidArgument(f"conflicting options: {text}")


def by_id(host: HostConfig, id_of: Callable[[str], str]) -> None:
    """Modes that name another container name it by its id from now on: it may be renamed.

    `id_of` raises NotFound. A missing one is an error here for ipc and pid, and the start's for the network, as with dockerd.
    Not a 404: docker's command line would pull the image.
    """
    try:
        host.ipc_mode = _resolved(host.ipc_mode, id_of)
        host.pid_mode = _resolved(host.pid_mode, id_of)
    except NotFound as error:
        raise InvalidArgument(str(error)) from None
    try:
        host.network_mode = _resolved(host.network_mode, id_of)
    except NotFound:
        return


def _resolved(mode: str, id_of: Callable[[str], str]) -> str:
    other = _other_of(mode)
    return f"{OTHER}{id_of(other)}" if other else mode
