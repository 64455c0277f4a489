"""The registry's routes: what each path and method does, and the right it needs. Source: distribution-spec 1.1, "Endpoints".

Pure. A path that isn't in the table doesn't exist, and a route can't be written without its scope.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from onggi.registry.access import Scope
from onggi.registry.answers import Refused
from onggi.registry.names import Repository, parse_repository


class Action(enum.Enum):
    BASE = "base"
    CATALOG = "catalog"
    TAGS = "tags"
    REFERRERS = "referrers"
    GET_BLOB = "get blob"
    DELETE_BLOB = "delete blob"
    BEGIN_UPLOAD = "begin upload"
    UPLOAD_STATUS = "upload status"
    APPEND = "append"
    FINISH = "finish"
    CANCEL_UPLOAD = "cancel upload"
    GET_MANIFEST = "get manifest"
    PUT_MANIFEST = "put manifest"
    DELETE_MANIFEST = "delete manifest"


@dataclass(frozen=True, slots=True)
class Route:
    """`shape` is the path behind /v2/, `{}` standing for what `Match.argument` gets; a name comes first unless it has none."""

    method: str
    shape: str
    action: Action
    scope: Scope


ROUTES: Final = (
    Route("GET", "", Action.BASE, Scope.BASE),
    Route("GET", "_catalog", Action.CATALOG, Scope.CATALOG),
    Route("GET", "<name>/tags/list", Action.TAGS, Scope.PULL),
    Route("GET", "<name>/referrers/{}", Action.REFERRERS, Scope.PULL),
    Route("GET", "<name>/blobs/{}", Action.GET_BLOB, Scope.PULL),
    Route("HEAD", "<name>/blobs/{}", Action.GET_BLOB, Scope.PULL),
    Route("DELETE", "<name>/blobs/{}", Action.DELETE_BLOB, Scope.DELETE),
    Route("POST", "<name>/blobs/uploads/", Action.BEGIN_UPLOAD, Scope.PUSH),
    Route("GET", "<name>/blobs/uploads/{}", Action.UPLOAD_STATUS, Scope.PUSH),
    Route("PATCH", "<name>/blobs/uploads/{}", Action.APPEND, Scope.PUSH),
    Route("PUT", "<name>/blobs/uploads/{}", Action.FINISH, Scope.PUSH),
    Route("DELETE", "<name>/blobs/uploads/{}", Action.CANCEL_UPLOAD, Scope.PUSH),
    Route("GET", "<name>/manifests/{}", Action.GET_MANIFEST, Scope.PULL),
    Route("HEAD", "<name>/manifests/{}", Action.GET_MANIFEST, Scope.PULL),
    Route("PUT", "<name>/manifests/{}", Action.PUT_MANIFEST, Scope.PUSH),
    Route("DELETE", "<name>/manifests/{}", Action.DELETE_MANIFEST, Scope.DELETE),
)

_ANY_NAME: Final = "(?P<name>.+)"


def _pattern(shape: str) -> re.Pattern[str]:
    return re.compile(re.escape(shape).replace("<name>", _ANY_NAME).replace(r"\{\}", "(?P<argument>[^/]+)"))


_PATTERNS: Final = {shape: _pattern(shape) for shape in dict.fromkeys(route.shape for route in ROUTES)}
_TABLE: Final = {(route.method, route.shape): route for route in ROUTES}


@dataclass(frozen=True, slots=True)
class Match:
    route: Route
    name: Repository
    argument: str


def match(method: str, path: str) -> Match:
    """`path` is decoded. Raises Refused: no such path, or not with this method, or no such name."""
    if not path.startswith("/v2/") and path != "/v2":
        raise Refused("UNSUPPORTED", "not found", status=404)
    rest = path[4:]
    if rest.endswith("/blobs/uploads"):
        rest += "/"
    allowed = []
    # Uploads come before blobs in the table, so that `x/blobs/uploads/y` is nobody's blob: a name may hold "blobs" itself,
    # and the longest name that fits is not the one that is meant.
    for shape, pattern in _PATTERNS.items():
        found = pattern.fullmatch(rest)
        if found is None:
            continue
        route = _TABLE.get((method, shape))
        if route is None:
            allowed.append(shape)
            continue
        groups = found.groupdict()
        name = parse_repository(groups["name"]) if "name" in groups else Repository("")
        return Match(route, name, groups.get("argument", ""))
    if allowed:
        methods = ", ".join(sorted({route.method for route in ROUTES if route.shape in allowed}))
        raise Refused("UNSUPPORTED", "the operation is unsupported", headers={"Allow": methods})
    raise Refused("UNSUPPORTED", "not found", status=404)
