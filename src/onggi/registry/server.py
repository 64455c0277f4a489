"""The registry over HTTP: a request finds its route, is allowed or not, and is answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from aiohttp import web

from onggi.errors import InvalidArgument, NoSpace, OnggiError, Unavailable
from onggi.registry import routes
from onggi.registry.access import Access, Scope
from onggi.registry.answers import HEADERS, Refused
from onggi.registry.blobs import Blobs
from onggi.registry.call import Call, Handler
from onggi.registry.listings import Listings
from onggi.registry.manifests import Manifests
from onggi.registry.repositories import Repositories
from onggi.registry.routes import Action
from onggi.registry.rules import Rules
from onggi.registry.uploads import Uploads
from onggi.store.blocking import blocking

if TYPE_CHECKING:
    from onggi.images.challenge import RegistryAuth
    from onggi.registry.mirrors import Mirrors
    from onggi.registry.upstreams import Upstream

log = logging.getLogger(__name__)

_HEALTH: Final = frozenset({"/livez", "/readyz"})
_WRITING: Final = frozenset({Scope.PUSH, Scope.DELETE})
_READ_BYTES: Final = 1024 * 1024
_DRAIN_S: Final = 10.0
_LINGER_S: Final = 1.0
"""For the rest of a refused body to come, so that a client that is still sending sees the answer."""


class Registry:
    """A registry on one root. `await listen(...)`, and `await close()` at the end."""

    def __init__(
        self,
        root: str,
        access: Access | None = None,
        *,
        upstreams: Sequence[Upstream] = (),
        credentials: Mapping[str, RegistryAuth] | None = None,
        fresh_s: float = 60.0,
        immutable: Sequence[str] = (),
    ) -> None:
        self.repositories = Repositories(root)
        self.uploads = Uploads(root, self.repositories.content)
        self._access = access or Access()
        blobs = Blobs(self.repositories, self.uploads, self._access)
        self._rules = Rules(root, immutable)
        manifests = Manifests(self.repositories, self._rules)
        listings = Listings(self.repositories)
        self._handlers: dict[Action, Handler] = {
            Action.BASE: listings.base,
            Action.CATALOG: listings.catalog,
            Action.TAGS: listings.tags,
            Action.REFERRERS: listings.referrers,
            Action.GET_BLOB: blobs.get,
            Action.DELETE_BLOB: blobs.delete,
            Action.BEGIN_UPLOAD: blobs.begin,
            Action.UPLOAD_STATUS: blobs.status,
            Action.APPEND: blobs.append,
            Action.FINISH: blobs.finish,
            Action.CANCEL_UPLOAD: blobs.cancel,
            Action.GET_MANIFEST: manifests.get,
            Action.PUT_MANIFEST: manifests.put,
            Action.DELETE_MANIFEST: manifests.delete,
        }
        self._mirrors: Mirrors | None = None
        if upstreams:
            # Late: most registries mirror nothing, and need none of what speaks to others.
            from onggi.images import RegistryOptions
            from onggi.registry.mirrors import Mirrors

            options = RegistryOptions(tries=2)
            self._mirrors = Mirrors(
                self.repositories, self._handlers, upstreams, credentials or {}, options, fresh_s=fresh_s
            )
            self._handlers = self._mirrors.handlers()
        self._runner: web.ServerRunner | None = None
        self._underway = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Serves until `close`; the port, which is a free one for 0."""
        if self._runner is None:
            server = web.Server(self._counted, read_bufsize=_READ_BYTES, access_log=None, lingering_time=_LINGER_S)
            self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
            await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=tls, backlog=1024).start()
        return int(self._runner.addresses[-1][1])

    async def close(self) -> None:
        """Nobody new is let in; requests under way get ten seconds."""
        if self._runner:
            for site in list(self._runner.sites):
                await site.stop()
            # Before the cleanup, which throws away whatever a client sends from then on (aiohttp's RequestHandler.close).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await self._idle.wait()
            await self._runner.cleanup()
            self._runner = None
        if self._mirrors:
            await self._mirrors.close()

    async def _counted(self, request: web.BaseRequest) -> web.StreamResponse:
        self._underway += 1
        self._idle.clear()
        try:
            return await self._answer(request)
        finally:
            self._underway -= 1
            if not self._underway:
                self._idle.set()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The boundary: whatever happens inside becomes an answer."""
        if request.path in _HEALTH and request.method in ("GET", "HEAD"):
            return await self._health(request.path)
        try:
            call = Call(request, routes.match(request.method, request.path))
            call.user = await self._access.check(
                call.route.scope, request.headers.get("Authorization", ""), request.remote or ""
            )
            if call.route.scope in _WRITING:
                self._rules.check_writable()
            answer = await self._handlers[call.route.action](call)
        except Refused as refused:
            answer = _refusal(request, refused)
        except InvalidArgument as error:
            answer = _refusal(request, Refused("MANIFEST_INVALID", str(error)))
        except NoSpace as error:
            answer = _refusal(request, Refused("UNKNOWN", str(error), status=507))
        except Unavailable as error:
            answer = _refusal(request, Refused("UNAVAILABLE", str(error), headers={"Retry-After": "10"}))
        except (ConnectionError, asyncio.IncompleteReadError, web.RequestPayloadError) as error:
            # The client is gone, or its body isn't HTTP: nobody reads this.
            log.info("%s %s: the body broke off: %s", request.method, request.path, error)
            answer = _refusal(request, Refused("SIZE_INVALID", "the body broke off"))
            answer.force_close()
        except (OnggiError, OSError):
            log.exception("%s %s", request.method, request.path)
            answer = _refusal(request, Refused("UNKNOWN", "internal error (the registry's log says more)"))
        if not answer.prepared:
            answer.headers.update(HEADERS)
        log.debug("%s %s %s", request.method, request.path, answer.status)
        return answer

    async def _health(self, path: str) -> web.Response:
        """For whoever watches over us: the loop turns (/livez), and what is written reaches the disk (/readyz)."""
        try:
            if path == "/readyz":
                await blocking(self.repositories.probe)
        except (OnggiError, OSError) as error:
            log.warning("not ready: %s", error)
            return web.Response(status=503, text="the storage can't be written to\n")
        return web.Response(text="ok\n")


def _refusal(request: web.BaseRequest, refused: Refused) -> web.Response:
    answer = web.Response(
        status=refused.http_status, body=refused.body(), content_type="application/json", headers=refused.headers
    )
    if request.can_read_body and not request.content.is_eof():
        # The rest of the body is not worth the time it takes.
        answer.force_close()
    return answer
