"""What of LLB is done here, by BuildKit's names: clients are told, and what they need beyond is refused by its name.

Source of the names: moby buildkit solver/pb/caps.go.
"""

from __future__ import annotations

from typing import Final

SOURCES: Final = (
    "source.image", "source.image.resolvemode", "source.image.checksum",
    "source.local", "source.local.unique", "source.local.sessionid", "source.local.includepatterns",
    "source.local.followpaths", "source.local.excludepatterns", "source.local.sharedkeyhint", "source.local.differ",
    "source.git", "source.git.keepgitdir", "source.git.fullurl", "source.git.httpauth", "source.git.knownsshhosts",
    "source.git.mountsshsock", "source.git.subdir", "source.git.checksum",
    "source.http", "source.http.checksum", "source.http.perm", "soruce.http.uidgid",
    "source.ocilayout", "source.buildop.llbfilename",
)  # fmt: skip
"""The one that is misspelt is so in BuildKit."""

EXECS: Final = (
    "exec.meta.base", "exec.meta.cgroup.parent", "exec.meta.network", "exec.meta.proxyenv", "exec.meta.security",
    "exec.meta.setsdefaultpath", "exec.meta.ulimit", "exec.meta.cdi", "exec.meta.removemountstubs.recursive",
    "exec.meta.linux.resources", "exec.mount.bind", "exec.mount.bind.readwrite-nooutput", "exec.mount.cache",
    "exec.mount.cache.sharing", "exec.mount.selector", "exec.mount.tmpfs", "exec.mount.tmpfs.size",
    "exec.mount.secret", "exec.mount.ssh", "exec.mount.cache.content", "exec.cgroup", "exec.secretenv",
    "exec.validexitcode",
)  # fmt: skip

FILES: Final = (
    "file.base", "file.rm.wildcard", "file.rm.nofollowsymlink", "file.copy.includeexcludepatterns",
    "file.copy.requiredpaths", "file.copy.modestring", "file.symlink.create",
)  # fmt: skip

OTHERS: Final = (
    "mergeop", "diffop", "passthroughop", "meta.ignorecache", "meta.description", "meta.exportcache", "constraints", "platform",
)  # fmt: skip

GRAPHS: Final = (*SOURCES, *EXECS, *FILES, *OTHERS)
SUPPORTED: Final = frozenset(GRAPHS)
