"""onggid's settings as the engine takes them."""

from __future__ import annotations

import ipaddress
import os
from typing import Final

from onggi.api.options import Settings
from onggi.build.gcsettings import parse_gc
from onggi.engine import userns
from onggi.engine.engine import EngineOptions
from onggi.errors import InvalidArgument
from onggi.images import RegistryOptions
from onggi.network.addresses import DEFAULT_POOLS
from onggi.rootless import INSIDE

_DEFAULT_BRIDGE: Final = "onggi0"


def engine_options(settings: Settings) -> EngineOptions:
    """Raises InvalidArgument for values that contradict, or that mean nothing."""
    bridge = settings.text("bridge")
    # Unlike dockerd's, a named bridge is the engine's own to make, so its address may be named beside it.
    if bridge == "none":
        raise InvalidArgument("-b none is not supported: give containers --network none")
    for name in ("ipv6", "default-ulimit"):
        if settings.flag(name) or settings.pairs(name):
            raise InvalidArgument(f"{name} is not supported yet: give it to networks and containers")
    _check_addresses(settings)
    return EngineOptions(
        data_root=settings.text("data-root"),
        exec_root=settings.text("exec-root"),
        bridge=bridge or _DEFAULT_BRIDGE,
        bip=settings.text("bip"),
        address_pools=[_pool(text) for text in settings.texts("default-address-pool")] or DEFAULT_POOLS,
        mtu=settings.number("mtu"),
        cgroup_parent=settings.text("cgroup-parent") or os.environ.get(INSIDE, ""),
        dns=settings.texts("dns"),
        dns_search=settings.texts("dns-search"),
        dns_options=settings.texts("dns-opt"),
        default_log_driver=settings.text("log-driver"),
        default_log_options=settings.pairs("log-opt"),
        registries=registry_options(settings),
        labels=settings.texts("label"),
        debug=settings.flag("debug"),
        rootless=settings.flag("rootless"),
        build_gc=_build_gc(settings.pairs("builder")),
        id_maps=userns.maps_of(settings.text("userns-remap")),
    )


def registry_options(settings: Settings) -> RegistryOptions:
    """Raises InvalidArgument in dockerd's words for numbers that leave nothing to be done."""
    for name in ("max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts"):
        if settings.number(name) < 1:
            raise InvalidArgument(f"invalid {name.replace('-', ' ')}: {settings.number(name)}")
    for url in settings.texts("registry-mirror"):
        scheme, separator, host = url.partition("://")
        if (
            not separator
            or scheme not in ("http", "https")
            or not host.strip("/")
            or "?" in host
            or "#" in host
            or "@" in host
        ):
            raise InvalidArgument(
                f"invalid mirror: {url!r}: want http:// or https:// and a host, and no user, query or fragment"
            )
    return RegistryOptions(
        insecure=settings.texts("insecure-registry"),
        mirrors=settings.texts("registry-mirror"),
        downloads=settings.number("max-concurrent-downloads"),
        uploads=settings.number("max-concurrent-uploads"),
        tries=settings.number("max-download-attempts"),
        certificates=_certificates(rootless=settings.flag("rootless")),
    )


def _certificates(*, rootless: bool) -> str:
    """Where moby's CertsDir is."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(home if rootless else "/etc", "docker", "certs.d")


def _build_gc(builder: dict[str, str]) -> str:
    """Raises InvalidArgument for what isn't known, or means nothing. Entitlements and history are the engine's own affair."""
    for name in builder:
        if name.lower() not in ("gc", "entitlements", "history"):
            raise InvalidArgument(f"builder.{name} is not supported")
    text = next((value for name, value in builder.items() if name.lower() == "gc"), "")
    if text:
        parse_gc(text)
    return text


def set_proxies(settings: Settings) -> None:
    """A proxy of the configuration takes the place of the environment's, for this process and what it starts, as in dockerd."""
    for name in ("http-proxy", "https-proxy", "no-proxy"):
        if value := settings.text(name):
            variable = name.upper().replace("-", "_")
            os.environ[variable] = os.environ[variable.lower()] = value


def _check_addresses(settings: Settings) -> None:
    for server in settings.texts("dns"):
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise InvalidArgument(f"invalid DNS address: {server!r}") from None
    if bip := settings.text("bip"):
        try:
            ipaddress.ip_interface(bip)
        except ValueError:
            raise InvalidArgument(f"invalid bip {bip!r}: want an address with its prefix, as 172.17.0.1/16") from None
    for label in settings.texts("label"):
        if "=" not in label:
            raise InvalidArgument(f"bad attribute format: {label}: labels are written name=value")


def _pool(text: str) -> tuple[str, int]:
    """`base=10.10.0.0/16,size=24`."""
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    try:
        base, size = ipaddress.ip_network(fields["base"]), int(fields["size"])
    except (KeyError, ValueError):
        raise InvalidArgument(f"invalid default address pool {text!r}: want base=10.10.0.0/16,size=24") from None
    if not base.prefixlen <= size <= base.max_prefixlen:
        raise InvalidArgument(
            f"invalid default address pool {text!r}: size must be between {base.prefixlen} and {base.max_prefixlen}"
        )
    return str(base), size
