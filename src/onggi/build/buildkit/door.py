"""The engine's side of BuildKit's protocol: one for an engine, behind `/grpc` and `/session`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from onggi.build.builder import Builder
from onggi.build.buildkit.asking import SessionAgents, SessionContexts, SessionCredentials, SessionSecrets
from onggi.build.buildkit.attributes import options_of
from onggi.build.buildkit.blobs import Blobs
from onggi.build.buildkit.bridge import Bridge
from onggi.build.buildkit.caches import Entry, Exporting, Importing, imports_of
from onggi.build.buildkit.control import Control
from onggi.build.buildkit.frontends import Served
from onggi.build.buildkit.history import History
from onggi.build.buildkit.http2 import Connection
from onggi.build.buildkit.jobs import Job, Jobs, Outcome
from onggi.build.buildkit.layouts import Layouts
from onggi.build.buildkit.llb.carrying import Given
from onggi.build.buildkit.llb.results import solved
from onggi.build.buildkit.mirrors import Mirrors
from onggi.build.buildkit.pb import ops_pb2
from onggi.build.buildkit.rpc import Methods, Server
from onggi.build.buildkit.session import ASK_S, PATIENCE_S, Sessions
from onggi.build.buildkit.uploading import UploadContexts, is_upload
from onggi.build.options import BuildOptions
from onggi.build.request import Built, Contexts, Credentials, Request
from onggi.oci.platform import host_platform


class BuildKit:
    """Sessions, jobs and the files that clients have sent. `close` at the engine's end."""

    def __init__(self, builder: Builder, *, worker_id: str, root: str | os.PathLike[str]) -> None:
        self.builder, self.worker_id = builder, worker_id
        self.sessions, self.jobs = Sessions(), Jobs(builder)
        self.mirrors = Mirrors(os.path.join(root, "sync"))
        self._root = root
        self._history: History | None = None
        self._methods = {
            **Control(self).methods(),
            **Bridge(self).methods(),
            **Blobs(lambda: self.history.content).methods(),
        }

    @property
    def history(self) -> History:
        """Read from the disk when it is first asked for."""
        if self._history is None:
            self._history = History(self._root)
        return self._history

    def close(self) -> None:
        self.mirrors.close()

    async def serve(self, begin: Callable[[Connection], None]) -> None:
        """Answers the calls of a client, whose connection `begin` gives to what it is called with, until the client goes.

        Cancelled: its builds are cancelled.
        """
        connection: Connection | None = None
        try:
            async with asyncio.TaskGroup() as group:
                connection = Connection(Server(self._methods, group).accept)
                begin(connection)
                await connection.watch(ASK_S, PATIENCE_S)
        finally:
            if connection is not None:
                connection.close()

    async def attach(
        self, headers: Mapping[str, str], methods: Sequence[str], begin: Callable[[Connection], None]
    ) -> None:
        """Serves a client's session until it goes. Raises InvalidArgument, Conflict before `begin` is called."""
        self.sessions.check_headers(headers)
        connection = Connection()
        begin(connection)
        await self.sessions.serve(headers, methods, connection)

    async def request_of(
        self, job: Job, attrs: Mapping[str, str], inputs: Mapping[str, Built] | None = None
    ) -> Request:
        """What a client asks of the built-in frontend. `inputs` are results of its other builds. Raises RpcError, InvalidArgument."""
        session = await self.sessions.get(job.request.Session)
        contexts: Contexts = SessionContexts(session, self.mirrors)
        if is_upload(source := attrs.get("context", "")):
            contexts = job.closing(UploadContexts(session, source, self.mirrors, self.builder.layering.workers))
        credentials = SessionCredentials(session)
        importing = Importing(self.builder.images, session, credentials, job)
        imports = imports_of(attrs, job.request.Cache.Imports)
        options = options_of(attrs, entitlements=job.request.Entitlements)
        # An image that is here needs no registry to say what it was made by.
        here = tuple(entry.attrs["ref"] for entry in imports if entry.type == "registry" and "ref" in entry.attrs)
        inline = any(entry.Type == "inline" for entry in job.request.Cache.Exports)
        results = {f"input:{name}": built for name, built in (inputs or {}).items()}
        layouts = job.closing(Layouts(self.builder.images, session, options.wanted_platforms[0]))
        results |= await layouts.all(attrs)
        rewrite = any(entry.Attrs.get("rewrite-timestamp") == "true" for entry in job.request.Exporters)
        return Request(
            replace(options, cache_from=here, inline_cache=inline or options.inline_cache, rewrite_timestamp=rewrite),
            contexts,
            SessionSecrets(session),
            SessionAgents(session),
            credentials,
            results,
            await importing.all(imports),
        )

    async def plain_request(self, job: Job) -> Request:
        """What a build without the built-in frontend may ask its client for. Raises RpcError."""
        session = await self.sessions.get(job.request.Session)
        credentials = SessionCredentials(session)
        return Request(
            BuildOptions(entitlements=frozenset(job.request.Entitlements)),
            SessionContexts(session, self.mirrors),
            SessionSecrets(session),
            SessionAgents(session),
            credentials,
            lenders=await Importing(self.builder.images, session, credentials, job).all(
                imports_of({}, job.request.Cache.Imports)
            ),
        )

    async def solve_graph(self, job: Job, definition: ops_pb2.Definition) -> tuple[str, Built]:
        """The result of a graph that a client sends, with its id. Raises RpcError, BuildFailed … (llb/carrying.py)."""
        session = await self.sessions.get(job.request.Session)
        layouts = job.closing(Layouts(self.builder.images, session, host_platform()))
        given = Given(self.jobs.result, layouts.image)
        request = await self.plain_request(job)
        (named,) = await job.carry(solved(self.builder, request, job.trace, given, definition))
        return named

    def methods_for(self, served: Served) -> Methods:
        """What a frontend that is an image may call."""
        return Bridge(self, served).methods()

    async def credentials_of(self, job: Job) -> Credentials:
        """The logins of a job's client. Raises RpcError when its session isn't there."""
        return SessionCredentials(await self.sessions.get(job.request.Session))

    async def export_cache(self, job: Job, outcome: Outcome) -> dict[str, str]:
        """Leaves the steps of a build where its client wants them; what it is told of that. Raises OnggiError."""
        entries = [Entry(each.Type, dict(each.Attrs)) for each in job.request.Cache.Exports]
        if not entries:
            return {}
        session = await self.sessions.get(job.request.Session)
        exporting = Exporting(self.builder.images, session, SessionCredentials(session), job)
        return await exporting.all(entries, list(outcome.results.values()))
