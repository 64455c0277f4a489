"""A way out for a network namespace that no right of the user's could connect: pasta(1), or slirp4netns(1).

Both are a process of the user's that copies between a tap device inside and ordinary sockets outside.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import Final

from onggi.errors import OnggiError

_TUN: Final = "/dev/net/tun"
_READY_S: Final = 20.0
_NAMES: Final = {"pasta": ("pasta", "passt"), "slirp4netns": ("slirp4netns",)}
"""What they call themselves: passt.avx2 for one."""
_SLIRP_DNS: Final = "10.0.2.3"
_PASTA_DNS: Final = "169.254.1.1"


@dataclass(frozen=True, slots=True)
class Uplink:
    """What runs: `program` is pasta, slirp4netns, or "" for none. `name_server` answers inside."""

    program: str
    pid: int = 0
    name_server: str = ""

    def end(self) -> None:
        if self.pid and _is(self.pid, self.program):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


def start(pid: int, directory: str) -> tuple[Uplink, str]:
    """The namespaces of `pid` are connected when this returns; or they aren't, and the text says why and what mends it.

    pasta keeps addresses and IPv6, and needs a network that is up; slirp4netns translates, and waits for one.
    """
    without = "containers reach each other and are reached by their ports, but nothing outside"
    there = [name for name in ("pasta", "slirp4netns") if shutil.which(name)]
    if not there:
        return Uplink(""), f"neither pasta nor slirp4netns is installed: {without} (Debian: sudo apt install passt)"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return Uplink(""), f"{there[0]} may not open {_TUN}: {without} (sudo chmod 666 {_TUN})"
    reasons = []
    for name in there:
        try:
            return _pasta(pid, directory) if name == "pasta" else _slirp(pid), ""
        except OnggiError as error:
            reasons.append(str(error))
    return Uplink(""), f"{'; '.join(reasons)}: {without}"


def _pasta(pid: int, directory: str) -> Uplink:
    """Raises OnggiError with its own words."""
    # It daemonizes when the device is there. No port of its own: those that are published are the relay's.
    pidfile = os.path.join(directory, "pasta.pid")
    words = ["pasta", "--config-net", "--quiet", "-t", "none", "-u", "none", "-T", "none", "-U", "none",
             "--dns-forward", _PASTA_DNS, "-P", pidfile, str(pid)]  # fmt: skip
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_READY_S, check=False)
    except subprocess.TimeoutExpired:
        raise OnggiError("pasta did not come up") from None
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise OnggiError(f"pasta: {'; '.join(words[-3:])}")
    with open(pidfile, encoding="ascii") as file:
        return Uplink("pasta", int(file.read()), _PASTA_DNS)


def _slirp(pid: int) -> Uplink:
    """Raises OnggiError."""
    ready, told = os.pipe()
    try:
        words = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-ipv6",
                 f"--ready-fd={told}", str(pid), "tap0"]  # fmt: skip
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[told]
        )
        os.close(told)
        if os.read(ready, 1) != b"1":
            raise OnggiError(f"slirp4netns ended with {process.wait(5)}")
        return Uplink("slirp4netns", process.pid, _SLIRP_DNS)
    finally:
        os.close(ready)


def _is(pid: int, program: str) -> bool:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().startswith(_NAMES[program])
    except OSError:
        return False
