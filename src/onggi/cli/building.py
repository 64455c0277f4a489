"""build: the context as a tar, what .dockerignore names left out, and the engine's output as it comes."""

from __future__ import annotations

import os
import sys
import tarfile

from onggi.cli import mountwords, progress
from onggi.cli.creating import platform_of, refuse_trust
from onggi.cli.credentials import Credentials
from onggi.cli.main import Command, Exit
from onggi.cli.references import split
from onggi.cli.transfer import blocks
from onggi.client import images
from onggi.ignore import IgnoreRules, read_ignore_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.cli.flags import Options
    from onggi.cli.main import Context


def _build(context: Context, options: Options, words: list[str]) -> None:
    refuse_trust(options)
    query = _query(options, context.config.proxies(context.endpoint.text))
    directory = words[0]
    if directory == "-":
        body: Iterator[bytes] = blocks("-")
        if sys.stdin.isatty():
            raise Exit(1, "a context on stdin: pipe a tar or a Dockerfile in")
        head = next(body, b"")
        body = _dockerfile_alone(head + b"".join(body)) if b"\0" not in head[:512] else _again(head, body)
    elif directory.startswith(("http://", "https://", "git://", "git@")):
        query["remote"] = directory
        body = iter(())
    else:
        body, query["dockerfile"] = _local(directory, options.text("file"))
    identifier = ""

    def aux(value: object) -> None:
        nonlocal identifier
        if isinstance(value, dict) and "ID" in value:
            identifier = str(value["ID"])

    stream = images.build(body, query, registries=Credentials(context.config).every())
    progress.show(context.engine.stream(stream), quiet=options.on("quiet"), on_aux=aux)
    if options.on("quiet"):
        sys.stdout.write(identifier + "\n")
    if options.text("iidfile"):
        with open(options.text("iidfile"), "w", encoding="ascii") as file:
            file.write(identifier)


def _query(options: Options, proxies: dict[str, str]) -> dict[str, object]:
    """What POST /build takes. The configuration's proxies are arguments of the build, unless the user gives them."""
    for name in options.list("tag"):
        split(name)
    arguments = dict(proxies)
    for word in options.list("build-arg"):
        name, separator, value = word.partition("=")
        if separator or name in os.environ:
            arguments[name] = value if separator else os.environ[name]
    return {
        "t": options.list("tag"), "buildargs": arguments, "labels": options.map("label"), "target": options.text("target") or None,
        "nocache": options.on("no-cache"), "pull": options.on("pull"), "rm": "1" if options.on("rm") else "0", "forcerm": options.on("force-rm"),
        "networkmode": options.text("network"), "memory": options.number("memory") or None, "memswap": options.number("memory-swap") or None,
        "cpushares": options.number("cpu-shares"), "cpuperiod": options.number("cpu-period"), "cpuquota": options.number("cpu-quota"),
        "cpusetcpus": options.text("cpuset-cpus") or None, "cpusetmems": options.text("cpuset-mems") or None,
        "shmsize": options.number("shm-size") or None, "extrahosts": options.list("add-host"), "platform": platform_of(options) or None,
        "squash": options.on("squash"), "cgroupparent": options.text("cgroup-parent") or None, "version": "1",
        "ulimits": _json([mountwords.ulimit(word) for word in options.list("ulimit")]), "cachefrom": _json(options.list("cache-from")),
    }  # fmt: skip


def _json(value: object) -> str | None:
    import json

    return json.dumps(value) if value else None


def _again(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


class _Collector:
    """Where tarfile writes; `take` gives what has come together."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pending.append(data)
        return len(data)

    def take(self) -> bytes:
        data, self._pending = b"".join(self._pending), []
        return data


def _dockerfile_alone(text: bytes) -> Iterator[bytes]:
    import io

    out = _Collector()
    with tarfile.open(fileobj=out, mode="w|") as tar:  # type: ignore[call-overload]
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    yield out.take()


def _local(directory: str, dockerfile: str) -> tuple[Iterator[bytes], str]:
    """The context's tar, and the Dockerfile's path in it. A Dockerfile from elsewhere is put in under a name of its own."""
    if not os.path.isdir(directory):
        raise Exit(1, f'unable to prepare context: path "{directory}" not found')
    path = (
        dockerfile
        if os.path.isabs(dockerfile)
        else os.path.join(os.getcwd(), dockerfile)
        if dockerfile
        else os.path.join(directory, "Dockerfile")
    )
    if dockerfile == "-":
        return _tar(
            directory, {".dockerfile.stdin": sys.stdin.buffer.read()}, keep=".dockerfile.stdin"
        ), ".dockerfile.stdin"
    if not os.path.exists(path) and dockerfile:
        path = os.path.join(directory, dockerfile)
    if not os.path.exists(path):
        raise Exit(
            1,
            f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {os.path.abspath(path)}: no such file or directory",
        )
    inside = os.path.relpath(os.path.realpath(path), os.path.realpath(directory))
    if inside.startswith(".."):
        with open(path, "rb") as file:
            return _tar(
                directory, {".dockerfile.outside": file.read()}, keep=".dockerfile.outside"
            ), ".dockerfile.outside"
    return _tar(directory, {}, keep=inside), inside


def _tar(directory: str, extra: dict[str, bytes], *, keep: str) -> Iterator[bytes]:
    """Files that .dockerignore lets through; owners are root, as docker's client sends them."""
    import io

    patterns = _ignored(directory, keep)
    out = _Collector()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        for name, data in extra.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            tar.addfile(info, io.BytesIO(data))
        for path, name in _walk(directory, "", patterns, keep):
            info = tar.gettarinfo(path, name)
            if info is None:  # a socket
                continue
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            if info.isreg():
                with open(path, "rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
            if len(data := out.take()) > 0:
                yield data
    yield out.take()


def _ignored(directory: str, dockerfile: str) -> IgnoreRules:
    for name in (os.path.join(directory, f"{dockerfile}.dockerignore"), os.path.join(directory, ".dockerignore")):
        try:
            with open(name, "rb") as file:
                return IgnoreRules(read_ignore_file(file.read()))
        except FileNotFoundError:
            continue
    return IgnoreRules([])


def _walk(directory: str, prefix: str, patterns: IgnoreRules, keep: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(os.scandir(os.path.join(directory, prefix)), key=lambda e: e.name):
        name = f"{prefix}/{entry.name}" if prefix else entry.name
        is_directory = entry.is_dir(follow_symlinks=False)
        ignored = patterns.ignores(name) and name not in (keep, ".dockerignore")
        if not ignored:
            yield entry.path, name
        if is_directory and (not ignored or patterns.may_keep_below(name) or keep.startswith(f"{name}/")):
            yield from _walk(directory, name, patterns, keep)


COMMANDS = {
    "build": Command(
        _build, "[OPTIONS] PATH | URL | -", "Build an image from a Dockerfile",
        """
   --add-host list  Add a custom host-to-IP mapping ("host:ip")
   --build-arg list  Set build-time variables
   --cache-from strings  Images to consider as cache sources
   --cgroup-parent string  Set the parent cgroup for the "RUN" instructions during build
   --compress bool  Compress the build context using gzip
   --cpu-period int  Limit the CPU CFS (Completely Fair Scheduler) period
   --cpu-quota int  Limit the CPU CFS (Completely Fair Scheduler) quota
-c --cpu-shares int  CPU shares (relative weight)
   --cpuset-cpus string  CPUs in which to allow execution (0-3, 0,1)
   --cpuset-mems string  MEMs in which to allow execution (0-3, 0,1)
-f --file string  Name of the Dockerfile (Default is "PATH/Dockerfile")
   --force-rm bool  Always remove intermediate containers
   --iidfile string  Write the image ID to the file
   --isolation string  Container isolation technology
   --label list:label  Set metadata for an image
-m --memory bytes  Memory limit
   --memory-swap bytes  Swap limit equal to memory plus swap: -1 to enable unlimited swap
   --network string=default  Set the networking mode for the RUN instructions during build
   --no-cache bool  Do not use cache when building the image
   --platform string  Set platform if server is multi-platform capable
   --pull bool  Always attempt to pull a newer version of the image
-q --quiet bool  Suppress the build output and print image ID on success
   --rm bool=true  Remove intermediate containers after a successful build
   --security-opt strings  Security options
   --shm-size bytes  Size of "/dev/shm"
   --squash bool  Squash newly built layers into a single new layer
-t --tag list  Name and optionally a tag in the "name:tag" format
   --target string  Set the target build stage to build.
   --ulimit ulimit  Ulimit options
   --disable-content-trust bool!=true  Has no effect: images aren't signed this way any more
""",
        least=1, most=1,
    ),
}  # fmt: skip
