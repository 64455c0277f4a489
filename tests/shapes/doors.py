"""The ways an image comes to be: `onggi build`, `docker buildx build` against onggid, and against another engine to compare with."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
BASE = "debian:bookworm-slim"
BUILD_S = 900
PROXIES = [name for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") if name in os.environ]  # fmt: skip
# Where this machine's package managers look, and whom they trust: read here, put into the base image, written in no file.
SETTINGS = (
    "PIP_CERT",
    "PIP_INDEX_URL",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_REGISTRY",
)


class Failed(Exception):
    """A build or a check didn't do what the table promises; says what was seen."""


@dataclass(frozen=True)
class Door:
    """`program` builds with `build`, and its other commands speak to the same engine."""

    name: str
    program: Sequence[str]
    build: Sequence[str]
    environment: Mapping[str, str]

    def run(self, *words: str, timeout_s: float = 60, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Raises Failed when it takes longer."""
        line = [*self.program, *words]
        environment = {**os.environ, **self.environment}
        try:
            return subprocess.run(
                line, env=environment, input=text, capture_output=True, check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{' '.join(words)}: no end after {timeout_s:.0f} s") from late

    def say(self, *words: str, timeout_s: float = 60, text: bytes = b"") -> str:
        """What the command prints; it must succeed."""
        done = self.run(*words, timeout_s=timeout_s, text=text)
        if done.returncode:
            raise Failed(f"{' '.join(words)}: {(done.stdout + done.stderr).decode('utf-8', 'replace')[-1500:]}")
        return done.stdout.decode("utf-8", "replace").strip()

    def add_base(self, archive: Path) -> None:
        settings = [
            word for name in SETTINGS if name in os.environ for word in ("-c", f"ENV {name}={os.environ[name]}")
        ]
        self.say("import", *settings, "-c", 'CMD ["bash"]', str(archive), BASE, timeout_s=300)

    def make(self, example: str, *words: str) -> float:
        """The image shape/`example`; seconds that it took."""
        arguments = [word for name in PROXIES for word in ("--build-arg", name)]
        began = time.perf_counter()
        self.say(*self.build, *arguments, *words, "-t", f"shape/{example}", str(EXAMPLES / example), timeout_s=BUILD_S)
        return time.perf_counter() - began

    def image(self, example: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say("image", "inspect", f"shape/{example}"))[0]
        return found

    def history(self, example: str) -> list[str]:
        """What made each layer and each setting, newest first."""
        return self.say("history", "--no-trunc", "--format", "{{.CreatedBy}}", f"shape/{example}").splitlines()


def buildx(name: str, host: str, config: Path, plugins: Path) -> Door:
    """docker's command line; its configuration goes into `config`."""
    config.mkdir(exist_ok=True)
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(plugins)]}))
    environment = {"DOCKER_HOST": host, "DOCKER_CONFIG": str(config), "BUILDKIT_PROGRESS": "plain"}
    return Door(name, ["docker"], ["buildx", "build", "--provenance=false", "--load"], environment)
