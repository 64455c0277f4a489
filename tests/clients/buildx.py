"""docker's command line with buildx against an onggid: what its users type."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.daemon import DOCKER, Daemon

PLUGINS = Path(__file__).parents[2] / ".cache" / "cli-plugins"


class Buildx:
    """Runs the command line in `directory`, with a configuration of its own that knows the plugin."""

    def __init__(self, daemon: Daemon, directory: Path) -> None:
        if not (PLUGINS / "docker-buildx").exists():
            pytest.fail("no docker-buildx: make test fetches it (scripts/cli-plugins)")
        self.daemon, self.directory = daemon, directory
        self.config = directory / "docker-config"
        self.config.mkdir()
        (self.config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "DOCKER_HOST": self.daemon.host,
            "DOCKER_CONFIG": str(self.config),
            "DOCKER_BUILDKIT": "1",
            "BUILDKIT_PROGRESS": "plain",
            **more,
        }

    def run(
        self, *words: str, text: str | bytes = "", timeout: float = 60, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [DOCKER, *words],
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd=self.directory,
            env=self.environment(**env),
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )

    def ok(self, *words: str, text: str | bytes = "", **env: str) -> subprocess.CompletedProcess[str]:
        """It must succeed."""
        done = self.run(*words, text=text, **env)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def build(self, *words: str, text: str | bytes = "", **env: str) -> str:
        """What a build of the directory's context `c` says; it must succeed."""
        return self.ok("build", *words, "c", text=text, **env).stderr

    def context(self, dockerfile: str, **files: str) -> Path:
        """The directory `c` anew; `__` in a name is a dot, `_S_` a slash."""
        place = self.directory / "c"
        place.mkdir(exist_ok=True)
        (place / "Dockerfile").write_text(dockerfile)
        for name, text in files.items():
            path = place / name.replace("_S_", "/").replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return place
