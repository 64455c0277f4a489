"""What nobody may write, whoever it is: tags that never move, and anything while the registry is read-only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase

from onggi.errors import InvalidArgument
from onggi.registry.answers import Refused
from onggi.registry.names import Repository


class Rules:
    """`immutable`: patterns of REPOSITORY:TAG, as `prod/*:v*`. Read-only is a file in the root, so that it holds for all replicas."""

    def __init__(self, root: str | os.PathLike[str], immutable: Sequence[str] = ()) -> None:
        for pattern in immutable:
            if ":" not in pattern:
                raise InvalidArgument(f"invalid pattern {pattern!r}: want REPOSITORY:TAG, as prod/*:v*")
        self._switch = os.path.join(root, "read-only")
        self._immutable = immutable

    def check_writable(self) -> None:
        """Raises Refused UNSUPPORTED."""
        if os.path.exists(self._switch):
            raise Refused("UNSUPPORTED", "the registry is read-only for now")

    def check_tag(self, name: Repository, tag: str) -> None:
        """Raises Refused DENIED for a tag that stays where it is."""
        if any(fnmatchcase(f"{name}:{tag}", pattern) for pattern in self._immutable):
            raise Refused("DENIED", f"{name}:{tag} is immutable: it leads where it leads", detail=tag)
