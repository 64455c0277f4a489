"""Files from git repositories: ADD of one, or one as a context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onggi.build.errors import BuildFailed
from onggi.build.gitwords import parse_git

if TYPE_CHECKING:
    from onggi.build.builder import Builder
    from onggi.build.context import Context
    from onggi.build.request import Request
    from onggi.build.vertices import Vertex


class GitSources:
    """Of one build."""

    def __init__(self, builder: Builder, request: Request) -> None:
        self._builder, self._request = builder, request

    async def context(
        self, source: str, vertex: Vertex, *, keep_git_dir: bool | None = None, checksum: str = ""
    ) -> Context:
        """What the repository holds at the ref. Raises BuildFailed, InvalidArgument."""
        del vertex, keep_git_dir, checksum
        parse_git(source)
        raise BuildFailed("git repositories are not supported here yet")
