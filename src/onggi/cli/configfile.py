"""config.json, shared with docker's client: read once, rewritten whole.

Unknown keys survive a rewrite. The file is 0600 or as it was, replaced by rename, indented with tabs as docker's own;
where it is a link, the file behind it is replaced.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json


class ConfigFile:
    """The settings below one directory ($DOCKER_CONFIG, --config, ~/.docker)."""

    __slots__ = ("directory", "path", "settings")

    def __init__(self, directory: str = "") -> None:
        self.directory = directory or os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = os.path.join(self.directory, "config.json")
        self.settings: Json = self._read()

    def _read(self) -> Json:
        """What is there; a file that can't be read is told of, and then as good as empty."""
        import json

        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            sys.stderr.write(f"WARNING: Error loading config file: {self.path}: {error}\n")
            return {}
        return found if isinstance(found, dict) else {}

    def text(self, key: str) -> str:
        value = self.settings.get(key)
        return value if isinstance(value, str) else ""

    def group(self, key: str) -> Json:
        """An object of the file; empty when it isn't there or is none."""
        value = self.settings.get(key)
        return value if isinstance(value, dict) else {}

    def words(self, key: str) -> list[str]:
        value = self.settings.get(key)
        return [str(one) for one in value] if isinstance(value, list) else []

    def save(self) -> None:
        import json

        path = os.path.realpath(self.path)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o600
        temporary = f"{path}{os.getpid()}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump({"auths": {}} | self.settings, file, indent="\t", ensure_ascii=False)
                os.fchmod(file.fileno(), mode)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def proxies(self, host: str) -> dict[str, str]:
        """Proxy variables for containers and builds of the engine at `host`, in upper and lower case."""
        settings = self.group("proxies")
        chosen = settings.get(host) or settings.get("default") or {}
        found = {}
        for key, name in _PROXIES.items():
            if chosen.get(key):
                found[name] = found[name.lower()] = str(chosen[key])
        return found

    def headers(self) -> dict[str, str]:
        """HTTP headers for each request: HttpHeaders, and DOCKER_CUSTOM_HEADERS (name=value, CSV) over them."""
        found = {
            str(name): str(value) for name, value in self.group("HttpHeaders").items() if name.lower() != "user-agent"
        }
        if custom := os.environ.get("DOCKER_CUSTOM_HEADERS"):
            import csv

            for field in next(csv.reader([custom]), []):
                name, _, value = field.partition("=")
                found[name.strip()] = value
        return found


_PROXIES = {
    "httpProxy": "HTTP_PROXY", "httpsProxy": "HTTPS_PROXY", "noProxy": "NO_PROXY", "ftpProxy": "FTP_PROXY", "allProxy": "ALL_PROXY",
}  # fmt: skip
