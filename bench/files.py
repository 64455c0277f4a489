"""Files in and out of containers: ten thousand small ones, through the API and through docker's command line."""

from __future__ import annotations

import io
import shutil
import statistics
import subprocess
import tarfile
import tempfile
from pathlib import Path

from bench.engines import Contender
from bench.figures import SLEEP, body, timed
from bench.http import Client

FILES = 10_000
_DIRECTORIES = 100


def _content(number: int) -> bytes:
    return f"content of {number}\n".encode() * (1 + number % 40)


def archive() -> bytes:
    """FILES files of up to 1 KiB in _DIRECTORIES directories."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(_DIRECTORIES):
            folder = tarfile.TarInfo(f"tree/{number}")
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, 1_700_000_000
            tar.addfile(folder)
        for number in range(FILES):
            data = _content(number)
            info = tarfile.TarInfo(f"tree/{number % _DIRECTORIES}/file{number}")
            info.size, info.mode, info.mtime = len(data), 0o644, 1_700_000_000
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def copies(engine: Contender, rounds: int = 3) -> dict[str, float]:
    """Seconds: in and out through the API, in and out through `docker cp`; each the median of `rounds`."""
    client, packed = Client(engine.socket), archive()
    made = client.json("POST", "/containers/create", body("none", SLEEP))["Id"]
    client.call("POST", f"/containers/{made}/start")
    root = Path(tempfile.mkdtemp(prefix="bench-cp-"))
    found: dict[str, list[float]] = {"cp in": [], "cp out": [], "cp in cli": [], "cp out cli": []}
    tar = {"Content-Type": "application/x-tar"}

    def run(*words: str) -> None:
        subprocess.run([*engine.docker, "cp", "-q", *words], check=True, capture_output=True)

    try:
        with tarfile.open(fileobj=io.BytesIO(packed)) as source:
            source.extractall(root / "here", filter="data")
        for number in range(rounds):
            where = f"/in{number}"
            client.call("PUT", f"/containers/{made}/archive?path=/", _folder(where), tar)
            found["cp in"].append(
                timed(lambda at=where: client.call("PUT", f"/containers/{made}/archive?path={at}", packed, tar))
            )
            got = b""

            def fetch(at: str = where) -> None:
                nonlocal got
                got = client.call("GET", f"/containers/{made}/archive?path={at}/tree")

            found["cp out"].append(timed(fetch))
            with tarfile.open(fileobj=io.BytesIO(got)) as answer:
                assert sum(member.isfile() for member in answer) == FILES
            found["cp in cli"].append(timed(lambda at=where: run(str(root / "here/tree"), f"{made}:{at}/again")))
            target = root / f"out{number}"
            found["cp out cli"].append(timed(lambda at=where, to=target: run(f"{made}:{at}/tree", str(to))))
            assert sum(1 for path in target.rglob("file*")) == FILES
        return {name: statistics.median(times) * 1e3 for name, times in found.items()}
    finally:
        client.call("DELETE", f"/containers/{made}?force=1")
        shutil.rmtree(root)


def _folder(path: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(path.strip("/"))
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    return out.getvalue()
