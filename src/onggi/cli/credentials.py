"""Credentials of registries: in config.json, in DOCKER_AUTH_CONFIG, or kept by a helper program (credsStore, credHelpers).

A password is never on another program's command line: helpers get it on stdin (docker-credential-helpers, protocol).
"""

from __future__ import annotations

import base64
import json
import os

from onggi.cli.references import registry_of
from onggi.errors import OnggiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.configfile import ConfigFile
    from onggi.client.shapes import Json

HUB = "https://index.docker.io/v1/"
_UNKNOWN = "credentials not found in native keychain"
_TOKEN_USER = "<token>"
"""The user name under which helpers keep an identity token."""


class HelperError(OnggiError):
    """A credential helper isn't there or failed."""


def _call(helper: str, action: str, text: str) -> Json:
    """docker-credential-HELPER; {} when it knows nothing. Raises HelperError."""
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, action], input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise HelperError(f'error getting credentials - err: exec: "{program}": {(error.strerror or "").lower()}, out: ``') from None  # fmt: skip
    if done.returncode:
        said = done.stdout.strip()
        if said == _UNKNOWN:
            return {}
        what = {"store": "storing", "erase": "erasing"}.get(action, "getting")
        raise HelperError(f"error {what} credentials - err: exit status {done.returncode}, out: `{said}`")
    if action in ("store", "erase"):
        return {}
    try:
        found = json.loads(done.stdout or "{}")
    except ValueError as error:
        raise HelperError(f"error getting credentials - err: {error}, out: ``") from None
    return found if isinstance(found, dict) else {}


class Credentials:
    """Where the configuration says that credentials are."""

    def __init__(self, config: ConfigFile) -> None:
        self._config = config

    def _helper(self, server: str) -> str:
        own = self._config.group("credHelpers").get(server)
        return str(own) if own else self._config.text("credsStore")

    def get(self, server: str) -> Json:
        """What to send for `server`; {} for nobody. Raises HelperError."""
        if entry := _from_environment().get(server):
            return _decoded(entry, server)
        if helper := self._helper(server):
            found = _call(helper, "get", server)
            user, secret = str(found.get("Username") or ""), str(found.get("Secret") or "")
            if user == _TOKEN_USER:
                return {"identitytoken": secret, "serveraddress": server}
            return {"username": user, "password": secret, "serveraddress": server} if user else {}
        auths = self._config.group("auths")
        entry = auths.get(server) or next((one for name, one in auths.items() if _host(name) == server), None)
        return _decoded(entry, server) if isinstance(entry, dict) else {}

    def every(self) -> dict[str, Json]:
        """Server → credentials, all that are known: a build may pull from any of them."""
        names = {*self._config.group("auths"), *self._config.group("credHelpers"), *_from_environment()}
        if store := self._config.text("credsStore"):
            names |= set(_call(store, "list", ""))
        return {name: found for name in sorted(names) if (found := self.get(name))}

    def knows(self, server: str) -> bool:
        if server in self._config.group("auths"):
            return True
        return bool(self._helper(server) and _call(self._helper(server), "get", server))

    def store(self, server: str, user: str, password: str, token: str) -> bool:
        """Keeps them; True when they now lie readable in the file."""
        auths = self._config.settings.setdefault("auths", {})
        helper = self._helper(server)
        if helper:
            secret = {"ServerURL": server, "Username": _TOKEN_USER if token else user, "Secret": token or password}
            _call(helper, "store", json.dumps(secret))
            auths[server] = {}
        else:
            plain = base64.b64encode(f"{user}:{password}".encode()).decode()
            auths[server] = {"auth": base64.b64encode(f"{user}:".encode()).decode(), "identitytoken": token} if token else {"auth": plain}  # fmt: skip
        self._config.save()
        return not helper

    def erase(self, server: str) -> None:
        if helper := self._helper(server):
            _call(helper, "erase", server)
        if self._config.group("auths").pop(server, None) is not None:
            self._config.save()


def _host(name: str) -> str:
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _from_environment() -> Json:
    """`auths` of DOCKER_AUTH_CONFIG, the content of a config.json."""
    try:
        found = json.loads(os.environ.get("DOCKER_AUTH_CONFIG") or "{}")
    except ValueError:
        return {}
    auths = found.get("auths") if isinstance(found, dict) else None
    return auths if isinstance(auths, dict) else {}


def _decoded(entry: Json, server: str) -> Json:
    """An entry of `auths` as the API takes it."""
    if entry.get("identitytoken"):
        return {"identitytoken": entry["identitytoken"], "serveraddress": server}
    if entry.get("registrytoken"):
        return {"registrytoken": entry["registrytoken"], "serveraddress": server}
    try:
        user, _, password = base64.b64decode(str(entry.get("auth", ""))).decode().partition(":")
    except ValueError:
        return {}
    return {"username": user, "password": password.rstrip("\0"), "serveraddress": server} if user else {}


def credentials_for(context: Context, repository: str) -> Json:
    """What to send as X-Registry-Auth for `repository`; {} for nobody."""
    host = registry_of(repository)
    return Credentials(context.config).get(HUB if host == "docker.io" else host)
