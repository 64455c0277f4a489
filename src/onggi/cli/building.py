"""build: the context goes to the engine, what it says is shown, and what was asked for is brought back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from onggi.cli import buildagents, buildcontext, mountwords
from onggi.cli.buildoutputs import Output, bring
from onggi.cli.buildprogress import display
from onggi.cli.buildwords import contexts_of, print_call, resources_of, secrets_of
from onggi.cli.command import Command, Exit
from onggi.cli.creating import platform_of, refuse_trust
from onggi.cli.credentials import Credentials
from onggi.cli.references import split
from onggi.client import images
from onggi.client.errors import StreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from onggi.cli.command import Context
    from onggi.cli.flags import Options


def _build(context: Context, options: Options, words: list[str]) -> None:
    refuse_trust(options)
    if options.on("no-cache") and options.list("no-cache-filter"):
        raise Exit(1, "--no-cache and --no-cache-filter cannot currently be used together")
    query = _query(options, context.config.proxies(context.endpoint.text))
    outputs = _outputs(options)
    query["rewritetimestamp"] = any(each.rewrites for each in outputs) or None
    directories, remote = contexts_of(options.list("build-context"))
    query |= resources_of(options.list("resource"))
    query["contexts"] = _json({**{name: f"local:{name}" for name in directories}, **remote})
    where = words[0]
    if where == "-":
        body: Iterator[bytes] = buildcontext.from_stdin()
    elif buildcontext.is_remote(where):
        query["remote"], query["dockerfile"] = where, options.text("file") or None
        body = iter(())
    else:
        body, query["dockerfile"] = buildcontext.from_directory(where, options.text("file"), directories)
    registries = Credentials(context.config).every()
    what = "lint" if options.on("check") else options.text("call")
    if what not in ("", "build"):
        asked = {"check": "lint"}.get(what.partition(",")[0], what.partition(",")[0])
        document = context.engine(images.build_call(body, {**query, "call": asked}, registries=registries))
        raise Exit(print_call(what, document))
    secrets = secrets_of(options.list("secret"))
    if secrets:
        context.engine(images.build_secrets(str(query["buildid"]), secrets))
    with contextlib.ExitStack() as stack:
        agents = buildagents.sockets_of(options.list("ssh"), stack)
        stack.enter_context(buildagents.carried(context, str(query["buildid"]), agents))
        _brought(context, options, outputs, images.build(body, query, registries=registries))


def _brought(context: Context, options: Options, outputs: list[Output], build: Any) -> None:
    """Follows the build, and brings what was asked for."""
    known: set[str] = set()
    if any(each.is_brought for each in outputs):
        known = {str(image["Id"]) for image in context.engine(images.listing(all=True))}
    identifier = _followed(context, options, build)
    for output in outputs:
        if output.is_brought:
            bring(context, output, identifier)
        elif output.push:
            _push(context, options)
    if known and identifier not in known and not options.list("tag"):
        # It was made to be brought here.
        context.engine(images.remove(identifier, noprune=True))
    if options.on("push"):
        _push(context, options)
    if options.on("quiet"):
        sys.stdout.write(identifier + "\n")
    if options.text("iidfile"):
        with open(options.text("iidfile"), "w", encoding="ascii") as file:
            file.write(identifier)
    if options.text("metadata-file"):
        with open(options.text("metadata-file"), "w", encoding="utf-8") as file:
            file.write(
                _json({"containerimage.config.digest": identifier, "image.name": ",".join(options.list("tag"))}) or ""
            )


def _followed(context: Context, options: Options, stream: Any) -> str:
    """The image's id, when the build has ended well."""
    shown = display(
        options.text("progress") or os.environ.get("BUILDKIT_PROGRESS", "") or "auto", quiet=options.on("quiet")
    )
    identifier = ""
    failed: dict[str, Any] = {}
    error: StreamError | None = None
    try:
        for item in context.engine.stream(stream):
            if "error" in item or "errorDetail" in item:
                detail = item.get("errorDetail") or {}
                error = StreamError(str(detail.get("message") or item.get("error")), int(detail.get("code") or 1))
                break
            aux = item.get("aux")
            if isinstance(aux, dict):
                identifier = str(aux.get("ID", identifier))
                failed = aux.get("failed") or failed
            else:
                shown.event(dict(item))
    except BaseException:
        shown.abandon()
        raise
    shown.close()
    if failed:
        _look(context, failed)
    if error is not None:
        raise Exit(1, f"failed to build: {error}")
    return identifier


def _look(context: Context, failed: dict[str, Any]) -> None:
    """A shell in what the failed step has left, with its mounts; all of that goes when the shell ends."""
    sys.stderr.write(f"\nA shell in the step that failed: {' '.join(failed['Command'])}\n")
    words = [word for bind in failed["Binds"] for word in ("-v", bind)]
    for tree in failed.get("Trees") or ():
        path = f",image-subpath={tree['Path']}" if tree["Path"].strip("/") else ""
        words += ["--mount", f"type=image,source={tree['Image']},target={tree['Target']}{path}"]
    terminal = ["-it"] if sys.stdin.isatty() else ["-i"]
    try:
        subprocess.run(
            [sys.argv[0], *context.global_words, "run", "--rm", *terminal, *words, failed["Image"], "/bin/sh"],
            check=False,
        )
    finally:
        for image in {failed["Image"], *(tree["Image"] for tree in failed.get("Trees") or ())}:
            context.engine(images.remove(image, force=True, noprune=True))


def _push(context: Context, options: Options) -> None:
    if not options.list("tag"):
        raise Exit(1, "tag is needed when pushing to registry")
    for name in options.list("tag"):
        subprocess.run([sys.argv[0], *context.global_words, "push", name], check=True)


def _outputs(options: Options) -> list[Output]:
    return [Output(text) for text in options.list("output")]


def _entitlements(options: Options) -> list[str]:
    return options.list("allow")


def _query(options: Options, proxies: dict[str, str]) -> dict[str, object]:
    """What POST /build takes. The configuration's proxies are arguments of the build, unless the user gives them."""
    for name in options.list("tag"):
        split(name)
    arguments = dict(proxies)
    for word in options.list("build-arg"):
        name, separator, value = word.partition("=")
        if separator or name in os.environ:
            arguments[name] = value if separator else os.environ[name]
    if "SOURCE_DATE_EPOCH" in os.environ:
        arguments.setdefault("SOURCE_DATE_EPOCH", os.environ["SOURCE_DATE_EPOCH"])
    return {
        "t": options.list("tag"), "buildargs": arguments, "labels": options.map("label"), "target": options.text("target") or None,
        "nocache": options.on("no-cache"), "pull": options.on("pull"), "rm": "1" if options.on("rm") else "0", "forcerm": options.on("force-rm"),
        "networkmode": options.text("network"), "memory": options.number("memory") or None, "memswap": options.number("memory-swap") or None,
        "cpushares": options.number("cpu-shares"), "cpuperiod": options.number("cpu-period"), "cpuquota": options.number("cpu-quota"),
        "cpusetcpus": options.text("cpuset-cpus") or None, "cpusetmems": options.text("cpuset-mems") or None,
        "shmsize": options.number("shm-size") or None, "extrahosts": options.list("add-host"), "platform": platform_of(options) or None,
        "squash": options.on("squash"), "cgroupparent": options.text("cgroup-parent") or None, "version": "1",
        "buildid": os.urandom(16).hex(), "progress": "raw", "explain": options.on("explain") or None,
        "keepfailed": options.on("shell-on-error") or None, "entitlements": _json(_entitlements(options)),
        "nocachefilter": _json([name for text in options.list("no-cache-filter") for name in text.split(",")]),
        "ulimits": _json([mountwords.ulimit(word) for word in options.list("ulimit")]), "cachefrom": _json(options.list("cache-from")),
    }  # fmt: skip


def _json(value: object) -> str | None:
    import json

    return json.dumps(value) if value else None


COMMANDS = {
    "build": Command(
        _build, "[OPTIONS] PATH | URL | -", "Build an image from a Dockerfile",
        """
   --add-host list:host  Add a custom host-to-IP mapping ("host:ip")
   --allow list  Allow extra privileged entitlement (e.g., "network.host", "security.insecure")
   --build-arg list  Set build-time variables
   --build-context list  Additional build contexts (e.g., name=path)
   --cache-from strings  Images to consider as cache sources
   --call string  Set method for evaluating build ("check", "outline", "targets")
   --cgroup-parent string  Set the parent cgroup for the "RUN" instructions during build
   --check bool  Shorthand for "--call=check"
   --compress bool  Compress the build context using gzip
   --cpu-period int  Limit the CPU CFS (Completely Fair Scheduler) period
   --cpu-quota int  Limit the CPU CFS (Completely Fair Scheduler) quota
-c --cpu-shares int  CPU shares (relative weight)
   --cpuset-cpus string  CPUs in which to allow execution (0-3, 0,1)
   --cpuset-mems string  MEMs in which to allow execution (0-3, 0,1)
   --explain bool  Say for each step that is made anew which file or argument has changed
-f --file string  Name of the Dockerfile (Default is "PATH/Dockerfile")
   --force-rm bool  Always remove intermediate containers
   --iidfile string  Write the image ID to the file
   --isolation string  Container isolation technology
   --label list:label  Set metadata for an image
   --load bool  Has no effect: images are in the engine when they are built
-m --memory bytes  Memory limit
   --memory-swap bytes:swap  Swap limit equal to memory plus swap: -1 to enable unlimited swap
   --metadata-file string  Write build result metadata to a file
   --network string=default  Set the networking mode for the RUN instructions during build
   --no-cache bool  Do not use cache when building the image
   --no-cache-filter list  Do not cache specified stages
-o --output list  Output destination (format: "type=local,dest=path")
   --platform string  Set platform if server is multi-platform capable
   --progress string  Set type of progress output ("auto", "none", "plain", "quiet", "rawjson", "tty")
   --pull bool  Always attempt to pull a newer version of the image
   --push bool  Push the tags that were given when the image is built
-q --quiet bool  Suppress the build output and print image ID on success
   --resource list  Limits of each RUN (format: "memory=1g,memory-swap=2g,cpu-quota=50000,cpuset-cpus=0-1")
   --rm bool=true  Remove intermediate containers after a successful build
   --secret list  Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")
   --security-opt strings  Security options
   --shell-on-error bool  Open a shell in the step that fails, with its files and mounts
   --shm-size bytes  Size of "/dev/shm"
   --squash bool  Squash newly built layers into a single new layer
   --ssh list  SSH agent socket or keys to expose to the build (format: "default|<id>[=<socket>|<key>[,<key>]]")
-t --tag list  Name and optionally a tag in the "name:tag" format
   --target string  Set the target build stage to build.
   --ulimit ulimit  Ulimit options
   --disable-content-trust bool!=true  Has no effect: images aren't signed this way any more
""",
        least=1, most=1,
    ),
}  # fmt: skip
