"""Addresses of git repositories as Dockerfiles and contexts write them: `url#ref:directory`, `url?branch=…`. Pure.

Grammar: BuildKit frontend/dockerfile/dfgitutil and util/gitutil.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

from onggi.errors import InvalidArgument

_PROTOCOL: Final = re.compile(r"([A-Za-z0-9]+)://")
_SCP: Final = re.compile(r"(?:[A-Za-z0-9_-]+@)[A-Za-z0-9._-]+:[^\x00?#]+")
_REF: Final = re.compile(r"[A-Za-z0-9._/@+-]+")
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_BOOLEANS: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True, slots=True)
class GitAddress:
    """`remote` is what git is given. `checksum` is a commit, perhaps its beginning. None: not said."""

    remote: str
    ref: str = ""
    directory: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True
    mtime: str = "checkout"


def split_address(text: str) -> SplitResult:
    """Raises InvalidArgument for what is no URL."""
    try:
        return urlsplit(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid URL {text!r}: {error}") from None


def is_git(source: str) -> bool:
    """By scheme, by `user@host:path`, or a URL whose path ends in .git; not what looks like a local path."""
    return _kind(source) is not None


def is_git_context(source: str) -> bool:
    """As a build context, github.com/… is one too."""
    return source.startswith("github.com/") or is_git(source)


def _kind(source: str) -> str | None:
    if source.startswith(("./", "../")):
        return None
    protocol = _PROTOCOL.match(source)
    if protocol is None:
        head = source.split("#", maxsplit=1)[0].split("?", maxsplit=1)[0]
        return "scp" if _SCP.fullmatch(head) else None
    scheme = protocol[1].lower()
    if scheme in ("git", "ssh"):
        return scheme
    if scheme in ("http", "https") and split_address(source).path.endswith(".git"):
        return scheme
    return None


def parse_git(source: str) -> GitAddress:
    """Raises InvalidArgument."""
    if source.startswith("github.com/"):
        source = f"https://{source}"
    if _kind(source) == "scp":
        head, hash_sign, fragment = source.partition("#")
        remote, _, query = head.partition("?")
    else:
        parts = split_address(source)
        remote = urlunsplit(SplitResult(parts.scheme, parts.netloc, parts.path, "", ""))
        query, fragment, hash_sign = parts.query, parts.fragment, "#" if parts.fragment else ""
    found = GitAddress(remote)
    if hash_sign:
        ref, _, directory = fragment.partition(":")
        found = replace(found, ref=ref, directory=posixpath.normpath(f"/{directory}").lstrip("/"))
    if query:
        found = _with_query(found, parse_qs(query, keep_blank_values=True))
    _check(found)
    return found


def _check(found: GitAddress) -> None:
    """Nothing of an address may be an option of git's, or lead out of the repository (CVE-2018-17456, CVE-2017-1000117)."""
    if found.remote.startswith("-") or "\0" in found.remote or "\n" in found.remote:
        raise InvalidArgument(f"invalid git repository {found.remote!r}")
    host = split_address(found.remote).hostname or "" if "://" in found.remote else found.remote
    if host.rpartition("@")[2].startswith("-"):
        raise InvalidArgument(f"invalid git repository {found.remote!r}")
    if found.ref and (found.ref.startswith("-") or not _REF.fullmatch(found.ref) or ".." in found.ref):
        raise InvalidArgument(f"invalid git ref {found.ref!r}")
    if found.checksum and not _COMMIT.fullmatch(found.checksum):
        raise InvalidArgument(f"invalid checksum {found.checksum!r} for a git source: a commit's hash is expected")


def _with_query(found: GitAddress, query: dict[str, list[str]]) -> GitAddress:
    tag = branch = ""
    for key, values in query.items():
        if len(values) > 1:
            raise InvalidArgument(f'query "{key}" has multiple values')
        value = values[0]
        if not value and key not in ("submodules", "keep-git-dir", "fetch-by-commit"):
            raise InvalidArgument(f'query "{key}" has no value')
        match key:
            case "ref":
                found = replace(found, ref=_agreed("ref", found.ref, value))
            case "tag":
                tag = value if value.startswith("refs/tags/") else f"refs/tags/{value}"
            case "branch":
                branch = value if value.startswith("refs/heads/") else f"refs/heads/{value}"
            case "subdir":
                found = replace(found, directory=_agreed("subdir", found.directory, value))
            case "checksum" | "commit":
                found = replace(found, checksum=value)
            case "keep-git-dir":
                found = replace(found, keep_git_dir=_boolean(key, value))
            case "submodules":
                found = replace(found, submodules=_boolean(key, value))
            case "fetch-by-commit":
                _boolean(key, value)
            case "mtime":
                if value not in ("checkout", "commit"):
                    raise InvalidArgument(f'invalid mtime value: "{value}" (must be "checkout" or "commit")')
                found = replace(found, mtime=value)
            case _:
                raise InvalidArgument(f'unexpected query "{key}"')
    if tag:
        found = replace(found, ref=_agreed("ref", found.ref, tag))
    if branch:
        if tag:
            raise InvalidArgument("branch conflicts with tag")
        found = replace(found, ref=_agreed("ref", found.ref, branch))
    return found


def _agreed(what: str, known: str, value: str) -> str:
    if known and known != value:
        raise InvalidArgument(f'{what} conflicts: "{known}" vs "{value}"')
    return value


def _boolean(key: str, value: str) -> bool:
    if not value:
        return True
    if value.lower() not in _BOOLEANS:
        raise InvalidArgument(f'invalid {key} value: "{value}"')
    return _BOOLEANS[value.lower()]
