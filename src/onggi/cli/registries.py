"""A registry from the client's side, for `manifest`: manifests and blobs over the distribution API, without an engine.

Blocking, one request a connection. Sources: OCI distribution-spec 1.1; docker's token authentication (Bearer challenges).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import ssl

from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
LISTS = (DOCKER_LIST, OCI_INDEX)
_MOST = 8 << 20
"""A manifest or a configuration that is longer is none."""


class RegistryError(OnggiError):
    """The registry's answer, or that there was none; `status` is 0 then."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Answer:
    """Status, headers (names in small letters) and the whole body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


class Registry:
    """One repository's host. `insecure` lets a host without TLS, or with a certificate that nobody signed, do."""

    def __init__(self, host: str, credentials: Json, *, insecure: bool) -> None:
        self._host = "registry-1.docker.io" if host == "docker.io" else host
        self._credentials = credentials
        self._insecure = insecure or host.partition(":")[0] in ("localhost", "127.0.0.1") or host.startswith("[::1]")
        self._tokens: dict[str, str] = {}

    def manifest(self, repository: str, reference: str) -> tuple[str, bytes]:
        """(media type, bytes). Raises RegistryError; the bytes of a digest have it."""
        accept = f"{DOCKER_MANIFEST}, {DOCKER_LIST}, {OCI_MANIFEST}, {OCI_INDEX}"
        answer = self._call("GET", repository, f"/v2/{repository}/manifests/{reference}", {"Accept": accept})
        if ":" in reference and digest_of(answer.body) != reference:
            raise RegistryError(f"manifest verification failed for digest {reference}")
        return answer.headers.get("content-type", "").partition(";")[0], answer.body

    def blob(self, repository: str, digest: str) -> bytes:
        answer = self._call("GET", repository, f"/v2/{repository}/blobs/{digest}", {})
        if answer.status in (301, 302, 303, 307, 308):
            answer = self._away(answer.headers.get("location", ""))
        if digest_of(answer.body) != digest:
            raise RegistryError(f"image config verification failed for digest {digest}")
        return answer.body

    def put_manifest(self, repository: str, reference: str, media_type: str, data: bytes) -> str:
        """The digest that the registry gave it."""
        headers = {"Content-Type": media_type}
        answer = self._call("PUT", repository, f"/v2/{repository}/manifests/{reference}", headers, data)
        return answer.headers.get("docker-content-digest") or digest_of(data)

    def mount(self, repository: str, digest: str, source: str) -> None:
        """A blob of `source` becomes one of `repository`. Raises RegistryError where the registry has it copied anew."""
        path = f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}"
        if self._call("POST", repository, path, {"Content-Length": "0"}).status != 201:
            raise RegistryError(f"error mounting {source}@{digest} to {repository}")

    def _call(
        self, method: str, repository: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> Answer:
        answer = self._send(method, path, headers | self._authorization(repository), body)
        if answer.status == 401:
            self._authenticate(repository, answer.headers.get("www-authenticate", ""))
            answer = self._send(method, path, headers | self._authorization(repository), body)
        if answer.status >= 400:
            raise RegistryError(_message(answer), answer.status)
        return answer

    def _authorization(self, repository: str) -> dict[str, str]:
        found = self._tokens.get(repository)
        return {"Authorization": found} if found else {}

    def _authenticate(self, repository: str, challenge: str) -> None:
        user = f"{self._credentials.get('username', '')}:{self._credentials.get('password', '')}"
        basic = {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()} if user != ":" else {}
        if not challenge.lower().startswith("bearer "):
            self._tokens[repository] = basic.get("Authorization", "")
            return
        words = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        from urllib.parse import urlencode

        query = urlencode({"service": words.get("service", ""), "scope": f"repository:{repository}:pull,push"})
        answer = self._away(f"{words.get('realm', '')}?{query}", basic)
        try:
            found = json.loads(answer.body)
        except ValueError:
            raise RegistryError("unauthorized: authentication required", 401) from None
        self._tokens[repository] = f"Bearer {found.get('token') or found.get('access_token', '')}"

    def _away(self, url: str, headers: dict[str, str] | None = None) -> Answer:
        """A GET of another address, without this registry's credentials."""
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or (parts.scheme == "http" and not self._insecure):
            raise RegistryError(f"{url}: not an address to go to")
        connection = self._connect(parts.netloc, plain=parts.scheme == "http")
        return _exchange(connection, "GET", f"{parts.path}?{parts.query}", headers or {}, None)

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        try:
            return _exchange(self._connect(self._host, plain=False), method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            if not self._insecure:
                raise RegistryError(f'{method.title()} "https://{self._host}{path}": {self._why(error)}') from None
        try:
            return _exchange(self._connect(self._host, plain=True), method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            raise RegistryError(f'{method.title()} "http://{self._host}{path}": {self._why(error)}') from None

    def _why(self, error: Exception) -> str:
        """In Go's words where people know them."""
        if isinstance(error, socket.gaierror):
            return f"dial tcp: lookup {self._host.partition(':')[0]}: no such host"
        if isinstance(error, ConnectionError):
            return f"dial tcp {self._host}: connect: {(error.strerror or str(error)).lower()}"
        return str(error)

    def _connect(self, host: str, *, plain: bool) -> http.client.HTTPConnection:
        if plain:
            return http.client.HTTPConnection(host, timeout=30)
        context = ssl.create_default_context()
        if self._insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, timeout=30, context=context)


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> Answer:
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read(_MOST + 1)
        if len(data) > _MOST:
            raise RegistryError("the registry's answer is too long")
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, data)
    finally:
        connection.close()


def _message(answer: Answer) -> str:
    """`code: message` of the registry's first error."""
    try:
        error = json.loads(answer.body)["errors"][0]
        return f"{str(error['code']).lower().replace('_', ' ')}: {error.get('message', '')}"
    except (ValueError, KeyError, IndexError, TypeError):
        return f"status {answer.status} {http.client.responses.get(answer.status, '')}"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
