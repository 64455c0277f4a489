"""hosts.toml: where one registry's images are found, as containerd reads it.

Source: containerd's docs/hosts.md. `<directory>/<host>/hosts.toml`, or `_default/hosts.toml` for registries without one.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from onggi.errors import InvalidArgument

_CAPABILITIES: Final = frozenset({"pull", "resolve", "push", "referrers"})
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Host:
    """One server. `root` is the path of its API without the last slash; `clients` are (certificate, key), the key "" if it's inside."""

    scheme: str
    address: str
    root: str = "/v2"
    pulls: bool = True
    pushes: bool = True
    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()
    skip_verify: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    dial_timeout_s: float = 0.0


def read_hosts(directory: str, domain: str) -> list[Host]:
    """In the order in which they are asked, the registry itself last. Empty without a file; raises InvalidArgument."""
    for name in (domain, domain.replace(":", "_") + "_" if ":" in domain else "", "_default"):
        path = os.path.join(directory, name, "hosts.toml")
        if name and "/" not in name and os.path.isfile(path):
            with open(path, "rb") as file:
                try:
                    return _hosts(tomllib.load(file), os.path.dirname(path), domain)
                except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
                    raise InvalidArgument(f"{path}: {error}") from None
    return []


def _hosts(document: Mapping[str, Any], directory: str, domain: str) -> list[Host]:
    named = document.get("host", {})
    found = [_host(url, table, directory) for url, table in named.items()]  # in the order of the file
    settings = {key: value for key, value in document.items() if key not in ("host", "server")}
    server = document.get("server") or f"https://{'registry-1.docker.io' if domain == 'docker.io' else domain}"
    return [*found, _host(server, settings, directory)]


def _host(url: str, table: Mapping[str, Any], directory: str) -> Host:
    scheme, separator, rest = url.partition("://")
    scheme, rest = (scheme, rest) if separator else ("https", url)
    if scheme not in ("http", "https"):
        raise TypeError(f"{url!r} is neither http nor https")
    address, slash, path = rest.partition("/")
    root = (slash + path).rstrip("/")
    if not table.get("override_path") and not root.endswith("/v2"):
        root += "/v2"
    capabilities = set(_texts(table.get("capabilities", []))) or _CAPABILITIES
    if unknown := capabilities - _CAPABILITIES:
        raise TypeError(f"unknown capability {min(unknown)!r} of {url}")
    return Host(
        scheme,
        address,
        root,
        "pull" in capabilities,
        "push" in capabilities,
        tuple(os.path.join(directory, name) for name in _texts(table.get("ca", []))),
        tuple(_pair(entry, directory) for entry in _list(table.get("client", []))),
        bool(table.get("skip_verify", False)),
        tuple((name, value) for name, values in table.get("header", {}).items() for value in _texts(values)),
        _seconds(table.get("dial_timeout", "")),
    )


def _pair(entry: object, directory: str) -> tuple[str, str]:
    """A file with certificate and key, or the two of them."""
    names = _texts(entry)
    if not 1 <= len(names) <= 2:
        raise TypeError("client wants a file, or a pair of certificate and key")
    certificate, *key = (os.path.join(directory, name) for name in names)
    return certificate, key[0] if key else ""


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


def _texts(value: object) -> list[str]:
    found = _list(value)
    if not all(isinstance(text, str) for text in found):
        raise TypeError(f"{value!r} is neither a text nor a list of texts")
    return [str(text) for text in found]


def _seconds(text: str) -> float:
    """Go's durations, as far as a connection takes them: "500ms", "1m30s"."""
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise TypeError(f"{text!r} is no duration")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
