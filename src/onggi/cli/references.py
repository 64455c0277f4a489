"""Image names as the API wants them: a repository, and a tag or digest beside it. Raises Exit in docker's words."""

from __future__ import annotations

import re

from onggi.cli.command import Exit

_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_NAME = re.compile(
    rf"(?:{_HOST}/)?{_PATH}(?:/{_PATH})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{{32,}})?"
)
"""Grammar: distribution/reference, reference.go."""
_ID = re.compile(r"[0-9a-f]{64}")


def check(name: str) -> None:
    """Refuses what can't be an image's name or id."""
    if _ID.fullmatch(name) or _NAME.fullmatch(name):
        return
    repository = name.partition("@")[0]
    directory, slash, last = repository.rpartition("/")
    bare = directory + slash + last.partition(":")[0]
    path = bare if registry_of(bare) == "docker.io" else bare.partition("/")[2]
    if path != path.lower():
        shown = path if "/" in path or registry_of(bare) != "docker.io" else f"library/{path}"
        raise Exit(1, f"invalid reference format: repository name ({shown}) must be lowercase")
    raise Exit(1, "invalid reference format")


def split(name: str, default: str | None = "latest") -> tuple[str, str | None]:
    """`host:5000/a/b:tag` → (host:5000/a/b, tag); with a digest the digest stands for the tag."""
    check(name)
    repository, at, digest = name.partition("@")
    directory, slash, last = repository.rpartition("/")
    base, colon, tag = last.partition(":")
    if at:
        return f"{directory}{slash}{base}", digest
    if not colon:
        return repository, default
    return f"{directory}{slash}{base}", tag


def registry_of(repository: str) -> str:
    """The host in a repository's name; docker.io when there is none."""
    first, slash, _ = repository.partition("/")
    if first in ("docker.io", "index.docker.io"):
        return "docker.io"
    return (
        first if slash and (set(".:") & set(first) or first == "localhost" or first != first.lower()) else "docker.io"
    )
