"""The three files that docker writes for a container: hostname, hosts, resolv.conf.

Written anew at each start; not synced: after a power cut there is no container that reads them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

EMBEDDED_DNS = "127.0.0.11"
_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"


def write(directory: str, name: str, content: str) -> str:
    path = os.path.join(directory, name)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, content.encode())
    finally:
        os.close(fd)
    return path


def hosts(own: Iterable[tuple[str, str]], extra: Iterable[str]) -> str:
    """`own`: (address, names); `extra`: docker's name:address, `host-gateway` resolved already."""
    lines = [_HOSTS]
    for word in extra:
        name, _, address = word.partition(":")
        lines.append(f"{address.strip('[]')}\t{name}\n")
    lines += [f"{address}\t{names}\n" for address, names in own]
    return "".join(lines)


def host_resolv_conf() -> str:
    """The host's; the real servers where it names a local stub that a container can't reach (systemd-resolved)."""
    text = read_text("/etc/resolv.conf")
    if any(line.split()[1:2] == ["127.0.0.53"] for line in text.splitlines() if line.startswith("nameserver")):
        return read_text("/run/systemd/resolve/resolv.conf") or text
    return text


def read_text(path: str) -> str:
    """The file's text, empty when it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def name_servers(text: str) -> list[str]:
    """Servers of a resolv.conf that a container can reach: none on a loopback."""
    found = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver") and len(line.split()) > 1]
    return [server for server in found if not server.startswith("127.") and server != "::1"]


def resolv_conf(
    host: str, *, embedded: bool, servers: list[str] | None, search: list[str] | None, options: list[str] | None
) -> str:
    """What a container reads: its own words first, then the host's; the embedded server in a user-defined network."""
    lines = []
    for line in host.splitlines():
        word = line.split()[0] if line.split() else ""
        if word == "nameserver" or (word == "search" and search) or (word == "options" and options) or not word:
            continue
        if word in ("search", "options", "domain"):
            lines.append(line)
    if search and search != ["."]:
        lines.append("search " + " ".join(search))
    if embedded:
        lines.insert(0, f"nameserver {EMBEDDED_DNS}")
        lines.append("options " + " ".join([*(options or []), "ndots:0"]))
        return "\n".join(lines) + "\n"
    found = servers or name_servers(host) or ["8.8.8.8", "8.8.4.4"]
    lines = [f"nameserver {server}" for server in found] + lines
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join(lines) + "\n"
