"""What the registry says no with: codes of the distribution spec, in its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from onggi.errors import OnggiError

STATUS: Final = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "PAGINATION_NUMBER_INVALID": 400,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "UNAUTHORIZED": 401,
    "DENIED": 403,
    "UNAVAILABLE": 503,
    "UNSUPPORTED": 405,
    "TOOMANYREQUESTS": 429,
    "UNKNOWN": 500,
}
"""The status that goes with a code (distribution-spec, "Error Codes"; the last ones are distribution's)."""


HEADERS: Final = {"Docker-Distribution-API-Version": "registry/2.0", "X-Content-Type-Options": "nosniff"}
"""Of every answer."""


class Refused(OnggiError):
    """The request ends here: `code` says why to programs, the message (distribution's) to people, `detail` what it is about."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        detail: str = "",
        status: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail[:300]
        self.http_status = status or STATUS[code]
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        entry = {"code": self.code, "message": str(self)} | ({"detail": self.detail} if self.detail else {})
        return msgspec.json.encode({"errors": [entry]})
