"""Where a build's files come from: images, directories of the client, URLs, repositories. One of each for a build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onggi.build.plan import Kind, Origin

if TYPE_CHECKING:
    from onggi.build.bases import Bases
    from onggi.build.context import Context
    from onggi.build.git import GitSources
    from onggi.build.locals import LocalFiles
    from onggi.build.remote import Remotes


@dataclass(frozen=True, slots=True)
class Sources:
    bases: Bases
    locals: LocalFiles
    remotes: Remotes
    git: GitSources

    async def context(self, origin: Origin) -> Context:
        """Of a directory, an archive or a repository. Raises NotFound, BuildFailed."""
        if origin.kind is Kind.LOCAL:
            return await self.locals.context(origin.name)
        return await self.remotes.context(origin)
