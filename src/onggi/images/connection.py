"""One registry, spoken to: challenges are answered, redirects followed as far as they may lead, errors put into words."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import Final, Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from onggi.errors import Corrupt, OnggiError, Unauthorized, Unavailable
from onggi.images.challenge import Challenge, Credentials, parse_challenges
from onggi.images.endpoints import Endpoint
from onggi.images.guard import Guard, GuardedResolver, LedAstray
from onggi.images.options import RegistryOptions
from onggi.images.proxies import proxy_for
from onggi.images.refusals import refusal, unreachable
from onggi.images.tokens import NoSuchWay, Tokens
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
            connector = aiohttp.TCPConnector(resolver=GuardedResolver(self.guard), ssl=_tls(self.endpoint), limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                read_bufsize=_READ_BYTES,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "onggi", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self.endpoint.connect_s or options.connect_s, sock_read=options.stall_s
                ),
            )
        return self._session

    async def connect(self) -> None:
        """Finds out which scheme is spoken and what is asked for. Raises TryAgain, Unavailable with Go's words.

        Unavailable, which isn't tried again, where nobody listens or the name is unknown.
        """
        if self._known:
            return
        for scheme in self.endpoint.schemes:
            base = URL(f"{scheme}://{self.endpoint.host}")
            url = URL(f"{base}{self.endpoint.root}/", encoded=True)
            try:
                async with self._ask("GET", url, headers=CIMultiDict(self.endpoint.headers)) as answer:
                    if answer.status == 429 or answer.status >= 500:
                        raise await refusal(answer)
                    self._challenge = _chosen(answer)
                    self._base, self._known = base, True
                    return
            except BROKEN as error:
                # An insecure registry that doesn't speak TLS is asked without; https came first.
                if scheme == "https" and "http" in self.endpoint.schemes:
                    continue
                said: OnggiError = unreachable(error, str(url))
                # Nobody there at all is more often a wrong name than a moment's trouble; and the next mirror is asked at once.
                if isinstance(said, TryAgain) and isinstance(error, aiohttp.ClientConnectorError):
                    said = Unavailable(str(said))
                raise said from error

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
        url = self._api(path) if path.startswith("/v2/") else self.url(path)
        try:
            async with contextlib.AsyncExitStack() as stack:
                answer = await self._send(stack, method, url, scope, headers, body, data)
                if answer.status == 401 and await self._challenged(answer, scope):
                    answer = await self._send(stack, method, url, scope, headers, body, data)
                yield answer
        except BROKEN as error:
            raise unreachable(error, str(url.with_query(None))) from error

    def _api(self, path: str) -> URL:
        """A path of the API at this endpoint, which may have it elsewhere than at /v2; a mirror is told whose images are meant."""
        url = self.url(self.endpoint.root + path.removeprefix("/v2"))
        return url.update_query(ns=self.endpoint.namespace) if self.endpoint.namespace else url

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
            sent = CIMultiDict(headers or {})
            if self._is_own(url):
                sent.extend(self.endpoint.headers)
                if authorization := await self._authorization(scope):
                    sent["Authorization"] = authorization
            answer = await stack.enter_async_context(
                self._ask(method, url, headers=sent, data=body() if body else data)
            )
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or target is None or method not in ("GET", "HEAD"):
                return answer
            url = self._follow(url, target)
        raise LedAstray(f"{self.endpoint.host} redirects more than {_MOST_REDIRECTS} times")

    def _ask(
        self, method: str, url: URL, *, headers: CIMultiDict[str], data: object = None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """One request, by way of a proxy if the engine's environment names one for it. Redirects are ours to follow."""
        proxy, to_proxy = proxy_for(url), CIMultiDict[str]()
        if proxy and proxy.user:
            to_proxy["Proxy-Authorization"] = Credentials(proxy.user, proxy.password or "").basic()
            if url.scheme == "http":  # the proxy reads the request itself; of https it sees the CONNECT alone
                headers = CIMultiDict(headers)
                headers.update(to_proxy)
        return self.session.request(
            method, url, headers=headers, data=data, allow_redirects=False,
            proxy=proxy.with_user(None) if proxy else None, proxy_headers=to_proxy,
        )  # fmt: skip

    async def _authorization(self, scope: str) -> str:
        if self._challenge is None:
            return ""
        if self._challenge.scheme == "basic":
            return await self._basic()
        return await self._tokens.header(self._challenge, scope)

    async def _basic(self) -> str:
        if self._credentials.keeper is not None:
            self._credentials = Credentials(*await self._credentials.keeper.log_in())
        return self._credentials.basic()

    async def _challenged(self, answer: aiohttp.ClientResponse, scope: str) -> bool:
        """Whether asking again makes sense: there is something new to answer with."""
        challenge = _chosen(answer)
        if challenge is None:
            return False
        if challenge.scheme == "basic":
            again = self._challenge != challenge and bool(await self._basic())
            self._challenge = challenge
            return again
        self._challenge = challenge
        self._tokens.forget(challenge, scope, answer.request_info.headers.get("Authorization", ""))
        return True

    async def _ask_realm(self, method: str, url: URL, headers: dict[str, str], form: dict[str, str] | None) -> bytes:
        """A token server's answer. Raises Unauthorized, NoSuchWay, TryAgain, LedAstray."""
        if not self._is_own(url):
            self.guard.check(url)
        try:
            async with self._ask(method, url, headers=CIMultiDict(headers), data=form) as answer:
                if answer.status != 200:
                    error = await refusal(answer)
                    if isinstance(error, TryAgain):
                        raise error
                    raise (NoSuchWay if answer.status in (404, 405) else Unauthorized)(str(error))
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


def _tls(endpoint: Endpoint) -> ssl.SSLContext | bool:
    """The machine's authorities and the endpoint's own. An insecure one is shown our certificate, but its own isn't looked at.

    Raises Unavailable for a file that can't be read.
    """
    if not endpoint.authorities and not endpoint.clients:
        return not endpoint.insecure
    context = ssl.create_default_context()
    if endpoint.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        for path in endpoint.authorities:
            context.load_verify_locations(path)
        for certificate, key in endpoint.clients:
            context.load_cert_chain(certificate, key or None)
    except (OSError, ValueError) as error:
        raise Unavailable(f"certificates of {endpoint.host} can't be used: {error}") from None
    return context
