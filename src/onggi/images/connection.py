"""One registry, spoken to: challenges are answered, redirects followed as far as they may lead, errors put into words."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import Final, Self

import aiohttp
from yarl import URL

from onggi.errors import Corrupt, Unauthorized
from onggi.images.challenge import Challenge, Credentials, parse_challenges
from onggi.images.guard import Guard, GuardedResolver, LedAstray
from onggi.images.options import Endpoint, RegistryOptions
from onggi.images.refusals import refusal, unreachable
from onggi.images.tokens import Tokens
from onggi.images.tries import TryAgain, trying

_READ_BYTES: Final = 1024 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5

Body = Callable[[], AsyncIterable[bytes]]
"""Makes a request's body; again, should the request be repeated with a token."""

BROKEN: Final = (aiohttp.ClientError, ConnectionError, TimeoutError)
"""What a connection dies of."""


class RegistryClient:
    """For one endpoint and one set of credentials. Who uses it holds it (`async with`); the last one closes it."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials, options: RegistryOptions) -> None:
        self.endpoint, self.options = endpoint, options
        self.guard = Guard(endpoint.host, insecure=endpoint.insecure)
        self._credentials = credentials
        self._base = URL(f"{endpoint.schemes[0]}://{endpoint.host}")
        self._challenge: Challenge | None = None
        self._known = False
        self._users = 0
        self._session: aiohttp.ClientSession | None = None
        self._tokens = Tokens(credentials, self._ask_realm)

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users and self._session:
            session, self._session = self._session, None
            await session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            options = self.options
            # A proxy's address is its owner's affair; the guard knows it.
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver(self.guard), ssl=_tls(self.endpoint, options.certificates), limit=0
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                trust_env=True,
                read_bufsize=_READ_BYTES,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "onggi", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_s, sock_read=options.stall_s),
            )
        return self._session

    async def connect(self) -> None:
        """Finds out which scheme is spoken and what is asked for. Raises TryAgain, Unavailable with Go's words."""
        if self._known:
            return
        for scheme in self.endpoint.schemes:
            base = URL(f"{scheme}://{self.endpoint.host}")
            url = base / "v2" / ""
            try:
                async with self.session.get(url, allow_redirects=False) as answer:
                    if answer.status == 429 or answer.status >= 500:
                        raise await refusal(answer)
                    self._challenge = _chosen(answer)
                    self._base, self._known = base, True
                    return
            except BROKEN as error:
                # An insecure registry that doesn't speak TLS is asked without; https came first.
                if scheme == "https" and "http" in self.endpoint.schemes:
                    continue
                raise unreachable(error, str(url)) from error

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        scope: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        data: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, whatever its status but 401 and redirects. `path` may be a URL that the registry gave (an upload's).

        Raises TryAgain when the connection broke, also while the block reads the body; Unauthorized, Forbidden.
        """
        await self.connect()
        url = self.url(path)
        try:
            async with contextlib.AsyncExitStack() as stack:
                answer = await self._send(stack, method, url, scope, headers, body, data)
                if answer.status == 401 and await self._challenged(answer, scope):
                    answer = await self._send(stack, method, url, scope, headers, body, data)
                yield answer
        except BROKEN as error:
            raise unreachable(error, str(url.with_query(None))) from error

    def url(self, path: str) -> URL:
        """An absolute URL is kept as it is spelled: its query may be signed. Raises LedAstray."""
        return self._follow(self._base, path)

    def _follow(self, url: URL, target: str) -> URL:
        """Where `target`, in the words of a stranger, leads from `url`. Raises LedAstray."""
        try:
            url = url.join(URL(target, encoded=True))
        except ValueError:
            raise LedAstray(f"{self.endpoint.host} leads to {target[:200]!r}, which is no web address") from None
        if not self._is_own(url):
            self.guard.check(url)
        return url

    def _is_own(self, url: URL) -> bool:
        return (url.scheme, url.host, url.port) == (self._base.scheme, self._base.host, self._base.port)

    async def _send(
        self,
        stack: contextlib.AsyncExitStack,
        method: str,
        url: URL,
        scope: str,
        headers: Mapping[str, str] | None,
        body: Body | None,
        data: bytes | None,
    ) -> aiohttp.ClientResponse:
        """One request with its redirects. Credentials go to the registry's own origin alone (CVE-2020-15157)."""
        for _ in range(_MOST_REDIRECTS + 1):
            sent = dict(headers or {})
            if self._is_own(url) and (authorization := await self._authorization(scope)):
                sent["Authorization"] = authorization
            answer = await stack.enter_async_context(
                self.session.request(
                    method, url, headers=sent, data=body() if body else data, allow_redirects=False, expect100=False
                )
            )
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or target is None or method not in ("GET", "HEAD"):
                return answer
            url = self._follow(url, target)
        raise LedAstray(f"{self.endpoint.host} redirects more than {_MOST_REDIRECTS} times")

    async def _authorization(self, scope: str) -> str:
        if self._challenge is None:
            return ""
        if self._challenge.scheme == "basic":
            return self._credentials.basic()
        return await self._tokens.header(self._challenge, scope)

    async def _challenged(self, answer: aiohttp.ClientResponse, scope: str) -> bool:
        """Whether asking again makes sense: there is something new to answer with."""
        challenge = _chosen(answer)
        if challenge is None:
            return False
        if challenge.scheme == "basic":
            again = self._challenge != challenge and bool(self._credentials.basic())
            self._challenge = challenge
            return again
        self._challenge = challenge
        self._tokens.forget(challenge, scope)
        return True

    async def _ask_realm(self, method: str, url: URL, headers: dict[str, str], form: dict[str, str] | None) -> bytes:
        """A token server's answer. Raises Unauthorized, TryAgain, LedAstray."""
        if not self._is_own(url):
            self.guard.check(url)
        try:
            async with self.session.request(method, url, headers=headers, data=form, allow_redirects=False) as answer:
                if answer.status != 200:
                    error = await refusal(answer)
                    raise error if isinstance(error, TryAgain) else Unauthorized(str(error))
                return await read_limited(answer, 1024 * 1024)
        except BROKEN as error:
            raise unreachable(error, str(url.with_query(None))) from error

    async def fetch(
        self, path: str, scope: str, limit: int, *, accept: str = "", method: str = "GET"
    ) -> tuple[bytes, Mapping[str, str]]:
        """A small document and its headers, tried as often as the options say."""

        async def once() -> tuple[bytes, Mapping[str, str]]:
            headers = {"Accept": accept} if accept else None
            async with self.request(method, path, scope, headers=headers) as answer:
                if answer.status != 200:
                    raise await refusal(answer)
                return await read_limited(answer, limit), answer.headers

        return await trying(self.options, once)

    async def log_in(self) -> str:
        """Whether the credentials are good; an identity token if the registry gives one. Raises Unauthorized."""
        await trying(self.options, self.connect)
        if self._challenge is None:
            return ""
        if self._challenge.scheme == "bearer":
            return await self._tokens.log_in(self._challenge)
        async with self.request("GET", "/v2/", "") as answer:
            if answer.status != 200:
                raise await refusal(answer)
        return ""


async def read_limited(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body. Raises Corrupt when it is longer than `limit`."""
    data = bytearray()
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > limit:
            raise Corrupt(f"{answer.url.host} sent more than {limit} bytes where a small document was asked for")
    return bytes(data)


def _chosen(answer: aiohttp.ClientResponse) -> Challenge | None:
    """What we answer of what is asked for: a token before a password."""
    challenges: dict[str, Challenge] = {}
    for header in answer.headers.getall("WWW-Authenticate", []):
        for challenge in parse_challenges(header):
            challenges.setdefault(challenge.scheme, challenge)
    if "bearer" in challenges:
        return challenges["bearer"]
    return challenges.get("basic")


def _tls(endpoint: Endpoint, directory: str) -> ssl.SSLContext | bool:
    """False: certificates aren't looked at. The directory is docker's: <host>/ca.crt, client.cert, client.key."""
    if endpoint.insecure:
        return False
    host = os.path.join(directory, endpoint.host)
    if "/" in endpoint.host or not os.path.isdir(host):
        return True
    context = ssl.create_default_context()
    for name in sorted(os.listdir(host)):
        path = os.path.join(host, name)
        if name.endswith(".crt"):
            context.load_verify_locations(path)
        elif name.endswith(".cert"):
            context.load_cert_chain(path, path.removesuffix(".cert") + ".key")
    return context
