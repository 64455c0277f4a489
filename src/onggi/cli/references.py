"""Image names as the API wants them: a repository, and a tag or digest beside it."""

from __future__ import annotations

from onggi.cli.main import Exit


def split(name: str, default: str | None = "latest") -> tuple[str, str | None]:
    """`host:5000/a/b:tag` → (host:5000/a/b, tag); with a digest the digest stands for the tag. Raises Exit."""
    if not name or name != name.strip() or any(letter.isspace() for letter in name):
        raise Exit(1, "invalid reference format")
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
    return first if slash and (set(".:") & set(first) or first == "localhost") else "docker.io"
