"""Files from elsewhere: ADD of a URL, a context from a URL, the bodies of heredocs. They join the context's spool."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import hashlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from onggi.build.entries import FILE, Entry
from onggi.build.errors import BuildFailed
from onggi.build.gitwords import is_git, split_address
from onggi.errors import InvalidArgument
from onggi.oci.digest import parse_digest

if TYPE_CHECKING:
    import aiohttp

    from onggi.build.request import Secrets
    from onggi.build.validators import Validators

_SIZE_LIMIT: Final = 64 * 1024**3
_CONNECT_S: Final = 30
_SILENCE_S: Final = 120
_PIECE: Final = 256 * 1024
_NOT_MODIFIED: Final = 304
_CONDITIONS: Final = frozenset({"If-None-Match", "If-Modified-Since"})

ABSENT: Final = -1
"""The offset of a file whose body hasn't come: its server said that it is the one of the last time."""


def is_remote(source: str) -> bool:
    """An address of a file; one of a git repository isn't."""
    return source.startswith(("http://", "https://")) and not is_git(source)


def name_of(url: str, *, needed: bool) -> str:
    """The file's name in a directory: the last part of the URL's path. Raises BuildFailed when it is `needed` and there is none."""
    name = unquote(split_address(url).path).rpartition("/")[2]
    if name not in ("", ".", "..") and "\0" not in name:
        return name
    if needed:
        raise BuildFailed(f"ADD failed: cannot determine filename from url: {url}")
    return "download"


class Spool:
    """A nameless file of one build, made when something goes into it, closed with `stack`."""

    def __init__(self, directory: str, stack: contextlib.AsyncExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._fd = -1

    @property
    def fd(self) -> int:
        if self._fd < 0:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            self._fd = os.open(self._directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self._stack.callback(os.close, self._fd)
        return self._fd


class Fetcher:
    """Appends to one spool, one file at a time. `secrets` may have credentials for servers (BuildKit's HTTP_AUTH_…)."""

    def __init__(self, spool: Spool, validators: Validators, secrets: Secrets) -> None:
        self._file, self._validators, self._secrets = spool, validators, secrets
        self._lock = asyncio.Lock()

    @property
    def fd(self) -> int:
        return self._file.fd

    async def keep(self, data: bytes, mode: int) -> Entry:
        """A file of these bytes, made now."""
        async with self._lock:
            offset = os.lseek(self._file.fd, 0, os.SEEK_END)
            os.pwrite(self._file.fd, data, offset)
        return Entry("", FILE, mode, time.time_ns(), len(data), offset, hashlib.sha256(data).digest())

    async def fetch(self, url: str, checksum: str) -> Entry:
        """The file with its body. As `look`."""
        looked = await self.look(url, checksum)
        return await self.body(url, looked) if looked.offset == ABSENT else looked

    async def look(self, url: str, checksum: str) -> Entry:
        """The file, with its body when the server has another one than the last time; else its `offset` is ABSENT.

        Raises BuildFailed, InvalidArgument. Cancelled: the connection is closed, some bytes lie unused in the spool.
        """
        wanted = parse_digest(checksum) if checksum else None
        if wanted is not None and not wanted.startswith("sha256:"):
            raise InvalidArgument(f"unsupported checksum {checksum}: only sha256 is")
        known = self._validators.find(url)
        headers = {**await self._credentials(url), **(known.conditions if known else {})}
        async with self._lock, opened(url, headers) as response:
            if known is not None and response.status == _NOT_MODIFIED:
                entry = Entry("", FILE, 0o600, known.mtime_ns, known.size, ABSENT, bytes.fromhex(known.digest))
            else:
                entry = await self._spooled(url, response)
        found = f"sha256:{entry.digest.hex()}"
        if wanted not in (None, found):
            raise BuildFailed(f"ADD failed: digest mismatch {found}: {wanted}")
        return entry

    async def body(self, url: str, looked: Entry) -> Entry:
        """What `look` left out. Raises BuildFailed, also when it is another by now."""
        async with self._lock, opened(url, await self._credentials(url)) as response:
            entry = await self._spooled(url, response)
        if entry.digest != looked.digest:
            raise BuildFailed(f"ADD failed: {url} changed while it was being fetched")
        return entry

    async def _spooled(self, url: str, response: aiohttp.ClientResponse) -> Entry:
        start = offset = os.lseek(self._file.fd, 0, os.SEEK_END)
        hasher = hashlib.sha256()
        async for piece in response.content.iter_chunked(_PIECE):
            hasher.update(piece)
            os.pwrite(self._file.fd, piece, offset)
            offset += len(piece)
            if offset - start > _SIZE_LIMIT:
                raise BuildFailed(f"ADD failed: {url} has more than {_SIZE_LIMIT} bytes")
        modified = _modified(response.headers.get("Last-Modified", ""))
        self._validators.add(url, response.headers, hasher.hexdigest(), offset - start, modified)
        return Entry("", FILE, 0o600, modified, offset - start, start, hasher.digest())

    async def _credentials(self, url: str) -> dict[str, str]:
        """What the client's secrets say for this host; a redirection to another host doesn't get it (aiohttp drops it)."""
        host = split_address(url).hostname or ""
        for name, before in (("HTTP_AUTH_TOKEN_", "Bearer "), ("HTTP_AUTH_HEADER_", "")):
            data = await self._secrets.secret(f"{name}{host}")
            if data:
                text = data.decode("utf-8", "replace").strip()
                if not text.isprintable():
                    raise InvalidArgument(f"secret {name}{host} has more than one line")
                return {"Authorization": f"{before}{text}"}
        return {}


@contextlib.asynccontextmanager
async def opened(url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer of a GET. Raises BuildFailed in docker's words."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_SILENCE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True, auto_decompress=False) as session,
            session.get(url, headers={"Accept-Encoding": "identity", **(headers or {})}) as response,
        ):
            asked = not _CONDITIONS.isdisjoint(headers or ())
            if response.status >= 300 and not (response.status == _NOT_MODIFIED and asked):
                raise BuildFailed(f"ADD failed: failed to GET {url} with status {response.status} {response.reason}: ")
            yield response
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise BuildFailed(f"ADD failed: failed to GET {url}: {error or type(error).__name__}") from error


def _modified(header: str) -> int:
    """Nanoseconds; 0 when the server doesn't say, so that the layer doesn't depend on when it was fetched."""
    try:
        return int(email.utils.parsedate_to_datetime(header).timestamp()) * 1_000_000_000 if header else 0
    except (ValueError, OverflowError):
        return 0
