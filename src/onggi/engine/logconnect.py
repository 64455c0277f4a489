"""A start's first connection to its log's server: what can't be reached fails the start, as with docker."""

from __future__ import annotations

import asyncio
import os
import socket
from urllib.parse import urlsplit

from onggi.errors import OnggiError
from onggi.runtime.logdrivers.connection import CONNECT_S, tls_context
from onggi.runtime.protocol import CarrierPlan

_KINDS = {"udp": socket.SOCK_DGRAM, "unixgram": socket.SOCK_DGRAM}


async def connect(plan: CarrierPlan, *, in_background: bool) -> socket.socket | None:
    """A socket that is connected, the caller's; None when the carrier makes its own.

    `in_background`: the driver connects by itself, whenever it can. Over TLS the certificates are tried out too. Raises
    OnggiError in dockerd's words. Cancelled: nothing is left.
    """
    if in_background:
        return None
    url = urlsplit(plan.address)
    network = "tcp" if url.scheme in {"tls", "tcp+tls"} else url.scheme
    where = url.path if network.startswith("unix") else f"{_bare(url.netloc)}"
    try:
        async with asyncio.timeout(CONNECT_S):
            if network.startswith("unix"):
                return await _to(socket.AF_UNIX, url.scheme, url.path)
            if network != url.scheme:
                await _try_tls(plan, url.hostname or "", url.port or 0)
                return None
            return await _to_host(network, url.hostname or "", url.port or 0)
    except socket.gaierror:
        raise _refusal(plan, f"dial {network}: lookup {url.hostname}: no such host") from None
    except TimeoutError:
        raise _refusal(plan, f"dial {network} {where}: i/o timeout") from None
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise _refusal(plan, f"dial {network} {where}: connect: {reason}") from None


def _refusal(plan: CarrierPlan, text: str) -> OnggiError:
    if plan.driver == "gelf":
        text = f"gelf: cannot connect to GELF endpoint: {urlsplit(plan.address).netloc} {text}"
    return OnggiError(text)


def _bare(netloc: str) -> str:
    return netloc.rpartition("@")[2]


async def _to_host(network: str, host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    kind = _KINDS.get(network, socket.SOCK_STREAM)
    last: OSError = OSError("no address")
    for family, _, _, _, address in await loop.getaddrinfo(host, port, type=kind):
        try:
            return await _to(family, network, address)
        except OSError as error:
            last = error
    raise last


async def _to(family: int, network: str, address: object) -> socket.socket:
    kind = _KINDS.get(network, socket.SOCK_STREAM)
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


async def _try_tls(plan: CarrierPlan, host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port, ssl=tls_context(plan.options), server_hostname=host)
    writer.close()
