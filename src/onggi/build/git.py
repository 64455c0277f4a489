"""Files from git repositories: ADD of one, or one as a context. git itself runs in a worker (gitjob.py)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import shutil
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from onggi.build.context import Context
from onggi.build.errors import BuildFailed
from onggi.build.gitjob import Fetch, Fetched
from onggi.build.gitwords import GitAddress, parse_git
from onggi.build.request import Material
from onggi.build.running import serve_agent
from onggi.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from onggi.build.builder import Builder
    from onggi.build.request import Request
    from onggi.build.vertices import Vertex


class GitSources:
    """Of one build; contexts are closed with `stack`. `materials` says which commits were used."""

    def __init__(self, builder: Builder, request: Request, stack: contextlib.AsyncExitStack) -> None:
        self._builder, self._request, self._stack = builder, request, stack
        self.materials: list[Material] = []

    async def context(
        self, source: str, vertex: Vertex, *, keep_git_dir: bool | None = None, checksum: str = ""
    ) -> Context:
        """What the repository holds at the ref. Raises BuildFailed, InvalidArgument."""
        address = _with_checksum(parse_git(source), checksum)
        if address.keep_git_dir is not None and keep_git_dir is not None and address.keep_git_dir != keep_git_dir:
            raise InvalidArgument("inconsistent keep-git-dir configuration")
        asked = self._request.options.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR") or "0"
        keep = address.keep_git_dir if address.keep_git_dir is not None else keep_git_dir
        keep = asked.lower() in ("1", "true") if keep is None else keep
        os.makedirs(self._builder.ingest, mode=0o700, exist_ok=True)
        spool = os.open(self._builder.ingest, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._stack.callback(os.close, spool)
        directory = os.path.join(self._builder.ingest, f"removed-git-{secrets.token_hex(8)}")
        os.mkdir(directory, 0o700)
        try:
            async with self._agent(address) as agent:
                request = Fetch(address, directory, keep, await self._header(address), agent)
                answer = await self._builder.workers.run("onggi.build.gitjob:fetch", request, [spool])
        except (InvalidArgument, NotFound) as error:
            raise BuildFailed(str(error)) from error
        finally:
            # The job removes it; one that was killed could not.
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        found = msgspec.msgpack.decode(answer, type=Fetched)
        self.materials.append(Material(_uri(address), f"sha1:{found.commit}"))
        vertex.log(1, f"{found.commit}\t{address.ref or 'HEAD'}\n".encode())
        return await asyncio.to_thread(Context, found.received.entries, os.dup(spool))

    async def _header(self, address: GitAddress) -> str:
        """What the client's secrets say for this host: GIT_AUTH_HEADER or GIT_AUTH_TOKEN, with `.host` before those without."""
        if not address.remote.startswith(("http://", "https://")):
            return ""
        host = urlsplit(address.remote).hostname or ""
        for name, is_token in (("GIT_AUTH_HEADER", False), ("GIT_AUTH_TOKEN", True)):
            for each in (f"{name}.{host}", name):
                data = await self._request.secrets.secret(each)
                if data:
                    text = data.decode("utf-8", "replace").strip()
                    if "\n" in text:
                        raise InvalidArgument(f"secret {each} has more than one line")
                    token = base64.b64encode(f"x-access-token:{text}".encode()).decode()
                    return f"Authorization: basic {token}" if is_token else f"Authorization: {text}"
        return ""

    @contextlib.asynccontextmanager
    async def _agent(self, address: GitAddress) -> AsyncIterator[str]:
        """The path of a socket that the client's ssh agent answers; "" when it isn't needed, or there is none."""
        agents = self._request.agents
        by_ssh = address.remote.startswith("ssh://") or "://" not in address.remote
        if not by_ssh or not await agents.has("default"):
            yield ""
            return
        with (
            self._builder.private.directory() as directory,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server,
        ):
            path = os.path.join(directory, "agent")
            server.setblocking(False)
            server.bind(path)
            server.listen(16)
            async with serve_agent(server, "default", agents.connect):
                yield path


def _with_checksum(address: GitAddress, checksum: str) -> GitAddress:
    """--checksum of ADD, which must be a commit. Raises InvalidArgument."""
    if not checksum:
        return address
    if address.checksum and address.checksum != checksum:
        raise InvalidArgument(f'checksum mismatch "{checksum}" != "{address.checksum}"')
    if not 7 <= len(checksum) <= 64 or checksum.strip("0123456789abcdef"):
        raise InvalidArgument(f"invalid checksum {checksum!r} for a git source: a commit's hash is expected")
    return GitAddress(
        address.remote,
        address.ref,
        address.directory,
        checksum,
        address.keep_git_dir,
        address.submodules,
        address.mtime,
    )


def _uri(address: GitAddress) -> str:
    fragment = address.ref + (f":{address.directory}" if address.directory else "")
    return f"{address.remote}#{fragment}" if fragment else address.remote
