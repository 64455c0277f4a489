"""A registry's answer that isn't what was asked for, in the words that docker's users and their scripts know (E-269)."""

from __future__ import annotations

import os
from typing import Final

import aiohttp
import msgspec

from onggi.errors import Forbidden, InvalidArgument, NotFound, OnggiError, Unauthorized, Unavailable
from onggi.images.guard import LedAstray
from onggi.images.tries import TryAgain, retry_after_s

_BODY_LIMIT: Final = 64 * 1024
_TRANSIENT: Final = frozenset({408, 500, 502, 503, 504})


class _Entry(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Body(msgspec.Struct):
    errors: list[_Entry] = []


async def refusal(answer: aiohttp.ClientResponse, *, pushing: bool = False) -> OnggiError:
    """The error that `answer` means, its body read."""
    entries = await _entries(answer)
    text = (
        "; ".join(_words(entry) for entry in entries)
        or f"received unexpected HTTP status: {answer.status} {answer.reason}"
    )
    match answer.status:
        case 429:
            wait = retry_after_s(answer.headers.get("Retry-After", ""))
            said = text if text.startswith("toomanyrequests") else f"toomanyrequests: {text}"
            return TryAgain(said, wait)
        case status if status in _TRANSIENT:
            return TryAgain(text, retry_after_s(answer.headers.get("Retry-After", "")))
        case 401:
            return Unauthorized(text if entries else "unauthorized: authentication required")
        case 403:
            return Forbidden("denied: requested access to the resource is denied" if pushing else text)
        case 404:
            return NotFound(text)
        case status if 400 <= status < 500:
            return InvalidArgument(text)
        case _:
            return Unavailable(text)


async def _entries(answer: aiohttp.ClientResponse) -> list[_Entry]:
    try:
        data = await answer.content.read(_BODY_LIMIT)
        return msgspec.json.decode(data, type=_Body).errors[:5]
    except (msgspec.DecodeError, UnicodeDecodeError, aiohttp.ClientError, TimeoutError):
        return []


def _words(entry: _Entry) -> str:
    """`denied: requested access …`, as distribution's client prints an error."""
    code = entry.code.lower().replace("_", " ")[:100]
    return f"{code}: {entry.message[:1000]}"


def unreachable(error: BaseException, url: str) -> OnggiError:
    """A connection that didn't come about, in Go's words."""
    said = f'Get "{url}": '
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Unavailable(f"{said}tls: failed to verify certificate: x509: {error.certificate_error}")
        case aiohttp.ClientConnectorDNSError():
            if "not a public address" in str(error):
                return LedAstray(str(error.os_error))
            return TryAgain(f"{said}dial tcp: lookup {error.host}: no such host")
        case aiohttp.ClientSSLError():
            if any(word in str(error).upper() for word in ("WRONG_VERSION_NUMBER", "RECORD LAYER", "HTTP_REQUEST")):
                return Unavailable(f"{said}http: server gave HTTP response to HTTPS client")
            return Unavailable(f"{said}tls: {error}")
        case aiohttp.ClientConnectorError():
            # asyncio words the error itself; the number is the kernel's.
            cause = os.strerror(error.os_error.errno or 0).lower()
            return TryAgain(f"{said}dial tcp {error.host}:{error.port}: connect: {cause}")
        case TimeoutError():
            return TryAgain(f"{said}net/http: request canceled (Client.Timeout exceeded while awaiting headers)")
        case _:
            return TryAgain(f"{said}{error or type(error).__name__}")
