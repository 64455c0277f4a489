"""The ways into a builder: buildx, `onggi build`, and `POST /build`. Each builds a case and says what was told of it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

from onggi.cli.buildcontext import from_directory
from tests.clients.buildx import PLUGINS
from tests.clients.daemon import DOCKER
from tests.corpus.case import Case, write
from tests.corpus.told import Told, from_rawjson

_ONGGI = str(Path(sys.executable).parent / "onggi")
_TIMEOUT_S = 120
_LAYERED = re.compile(
    r"^Step \d+/\d+ : (?:RUN|COPY|ADD|WORKDIR(?! /\n))\b.*\n ---> Using cache$", re.MULTILINE | re.IGNORECASE
)


class Door(Protocol):
    """`tells_steps`: by name, with checks; otherwise only how many of them were cached is known, in names that mean nothing."""

    name: str
    tells_steps: bool

    def build(self, case: Case, root: Path, tag: str, *, fresh: bool) -> Told:
        """Builds what `laid_out` has put into `root`; `fresh`: with nothing from the cache."""
        ...


def laid_out(case: Case, root: Path, *, mtime: int) -> None:
    """The case's contexts and secrets, as files."""
    context = context_of(root)
    context.mkdir(parents=True)
    write(context, {"Dockerfile": case.dockerfile, **case.files}, mtime=mtime)
    for name, value in case.secrets.items():
        (root / f"secret-{name}").write_text(value)
    for name, files in case.contexts.items():
        (root / f"context-{name}").mkdir()
        write(root / f"context-{name}", files)


def context_of(root: Path) -> Path:
    """A name of its own: what two directories of one name have, buildx and BuildKit take for the same when size and time are."""
    return root / f"{root.parent.name}-{root.name}"


def _words(case: Case, root: Path, tag: str, *, fresh: bool) -> list[str]:
    """Flags that buildx and `onggi build` have in common."""
    line = ["--progress=rawjson", "-t", tag, *(["--no-cache"] if fresh else [])]
    line += [word for name, value in case.args.items() for word in ("--build-arg", f"{name}={value}")]
    line += [word for name in case.secrets for word in ("--secret", f"id={name},src={root / f'secret-{name}'}")]
    line += [word for name in case.contexts for word in ("--build-context", f"{name}={root / f'context-{name}'}")]
    line += ["--target", case.target] if case.target else []
    line += ["--platform", case.platform] if case.platform else []
    line += [word for name in case.entitlements for word in ("--allow", name)]
    return [*line, str(context_of(root))]


class Buildx:
    """`directory` gets the client's configuration. `network` none spares what no case needs."""

    name = "buildx"
    tells_steps = True

    def __init__(self, host: str, directory: Path, *, network: str = "default") -> None:
        (directory / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))
        self._env = {**os.environ, "DOCKER_HOST": host, "DOCKER_CONFIG": str(directory), "NO_COLOR": "1"}
        self._network = network

    def build(self, case: Case, root: Path, tag: str, *, fresh: bool) -> Told:
        line = ["buildx", "build", "--provenance=false", "--network", self._network]
        return _run([DOCKER, *line, *_words(case, root, tag, fresh=fresh)], self._env)


class OnggiBuild:
    name = "onggi build"
    tells_steps = True

    def __init__(self, host: str) -> None:
        self._env = {**os.environ, "DOCKER_HOST": host, "NO_COLOR": "1"}

    def build(self, case: Case, root: Path, tag: str, *, fresh: bool) -> Told:
        return _run([_ONGGI, "build", "--network", "none", *_words(case, root, tag, fresh=fresh)], self._env)


class PostBuild:
    """What a client does that knows the older builder alone."""

    name = "POST /build"
    tells_steps = False

    def __init__(self, path: str) -> None:
        self._path = path

    def build(self, case: Case, root: Path, tag: str, *, fresh: bool) -> Told:
        named = {name: str(root / f"context-{name}") for name in case.contexts}
        body, dockerfile = from_directory(str(context_of(root)), "", named)
        query = {
            "t": tag, "nocache": str(int(fresh)), "networkmode": "none", "target": case.target, "platform": case.platform,
            "dockerfile": dockerfile, "buildargs": json.dumps(case.args), "entitlements": json.dumps(case.entitlements),
            "contexts": json.dumps({name: f"local:{name}" for name in named}),
        }  # fmt: skip
        secrets = {name: base64.b64encode(value.encode()).decode() for name, value in case.secrets.items()}
        headers = {"X-Build-Secrets": base64.b64encode(json.dumps(secrets).encode()).decode()}
        return self._told(self._post(urlencode(query), b"".join(body), headers))

    def _post(self, query: str, body: bytes, headers: Mapping[str, str]) -> str:
        connection = http.client.HTTPConnection("d", timeout=_TIMEOUT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_TIMEOUT_S)
        connection.sock.connect(self._path)
        try:
            connection.request("POST", f"/v1.51/build?{query}", body, {"Content-Type": "application/x-tar", **headers})
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    @staticmethod
    def _told(answer: str) -> Told:
        told, said = Told(), ""
        for line in answer.splitlines():
            message = json.loads(line)
            said += message.get("stream", "")
            told.error = message.get("error") or message.get("message") or told.error
        for number in range(len(_LAYERED.findall(said))):
            told.steps[f"step {number}"] = True
        return told


def _run(line: list[str], env: Mapping[str, str]) -> Told:
    done = subprocess.run(line, capture_output=True, env=env, timeout=_TIMEOUT_S, check=False)
    told = from_rawjson(done.stderr.decode())
    if done.returncode and not told.error:
        told.error = done.stderr.decode().strip().rpartition("\n")[2]
    return told
