"""pull, push, load, save, import."""

from __future__ import annotations

import os
import sys

from onggi.cli import progress
from onggi.cli.command import Command, Exit
from onggi.cli.creating import platform_of, refuse_trust
from onggi.cli.credentials import credentials_for
from onggi.cli.references import split
from onggi.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.cli.command import Context
    from onggi.cli.flags import Options

_BLOCK = 1 << 20


def _pull(context: Context, options: Options, words: list[str]) -> None:
    refuse_trust(options)
    name = words[0]
    if options.on("all-tags"):
        repository, tag = split(name, None)
        if tag:
            raise Exit(1, "tag can't be used with --all-tags/-a")
    else:
        repository, tag = split(name)
        if not options.on("quiet") and tag == "latest" and not name.endswith(":latest"):
            sys.stdout.write("Using default tag: latest\n")
    stream = images.pull(
        repository, tag, platform=platform_of(options) or None, auth=credentials_for(context, repository)
    )
    progress.show(context.engine.stream(stream), quiet=options.on("quiet"))
    host = (
        repository if "." in repository.partition("/")[0] or ":" in repository.partition("/")[0] else _hub(repository)
    )
    sys.stdout.write(f"{host}@{tag}\n" if tag and ":" in tag else f"{host}:{tag}\n" if tag else f"{host}\n")


def _hub(repository: str) -> str:
    return f"docker.io/{repository}" if "/" in repository else f"docker.io/library/{repository}"


def _push(context: Context, options: Options, words: list[str]) -> None:
    refuse_trust(options)
    repository, tag = split(words[0], None)
    if options.on("all-tags"):
        if tag:
            raise Exit(1, "tag can't be used with --all-tags/-a")
    elif not tag:
        tag = "latest"
        if not options.on("quiet"):
            sys.stdout.write("Using default tag: latest\n")
    platform = options.text("platform") or None
    stream = images.push(repository, tag, platform=platform, auth=credentials_for(context, repository))
    progress.show(context.engine.stream(stream), quiet=options.on("quiet"))
    if options.on("quiet"):
        sys.stdout.write(f"{repository}:{tag}\n")


def blocks(path: str) -> Iterator[bytes]:
    """A file's bytes, stdin's for "-"."""
    if path == "-":
        while block := os.read(sys.stdin.fileno(), _BLOCK):
            yield block
        return
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _load(context: Context, options: Options, words: list[str]) -> None:
    del words
    path = options.text("input")
    if not path and sys.stdin.isatty():
        raise Exit(1, "requested load from stdin, but stdin is empty")
    if path and not os.path.exists(path):
        raise Exit(1, f"open {path}: no such file or directory")
    quiet = options.on("quiet") or not sys.stdout.isatty()
    stream = images.load(blocks(path or "-"), quiet=quiet, platforms=options.list("platform"))
    progress.show(context.engine.stream(stream))


def _save(context: Context, options: Options, words: list[str]) -> None:
    from onggi.cli.output import check_output, told_as, write_stream

    with told_as("save image"):
        check_output(options.text("output"))
    write_stream(context.engine.stream(images.save(words, platforms=options.list("platform"))), options.text("output"))


def _import(context: Context, options: Options, words: list[str]) -> None:
    source, url = words[0], "-"
    if source.startswith(("http://", "https://")):
        source, url = "", source
    elif source != "-" and not os.path.exists(source):
        raise Exit(1, f"open {source}: no such file or directory")
    repository, tag = split(words[1]) if len(words) > 1 else ("", None)
    stream = images.import_(
        blocks(source) if source else None,
        url=url,
        platform=options.text("platform") or None,
        repository=repository,
        tag=tag or "",
        message=options.text("message"),
        changes=options.list("change"),
    )
    progress.show(context.engine.stream(stream))


COMMANDS = {
    "pull": Command(
        _pull, "[OPTIONS] NAME[:TAG|@DIGEST]", "Download an image from a registry",
        """
-a --all-tags bool  Download all tagged images in the repository
   --disable-content-trust bool!=true  Has no effect: images aren't signed this way any more
   --platform string  Set platform if server is multi-platform capable
-q --quiet bool  Suppress verbose output
""",
        least=1, most=1,
    ),
    "push": Command(
        _push, "[OPTIONS] NAME[:TAG]", "Upload an image to a registry",
        """
-a --all-tags bool  Push all tags of an image to the repository
   --disable-content-trust bool!=true  Has no effect: images aren't signed this way any more
   --platform string@1.46  Push a platform-specific manifest as a single-platform image to the registry
-q --quiet bool  Suppress verbose output
""",
        least=1, most=1,
    ),
    "load": Command(
        _load, "[OPTIONS]", "Load an image from a tar archive or STDIN",
        """
-i --input string  Read from tar archive file, instead of STDIN
   --platform strings@1.48  Load these platforms of a multi-platform image only
-q --quiet bool  Suppress the load output
""",
        most=0,
    ),
    "save": Command(
        _save, "[OPTIONS] IMAGE [IMAGE...]", "Save one or more images to a tar archive (streamed to STDOUT by default)",
        """
-o --output string  Write to a file, instead of STDOUT
   --platform strings@1.48  Save these platforms of a multi-platform image only
""",
        least=1,
    ),
    "import_": Command(
        _import, "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]", "Import the contents from a tarball to create a filesystem image",
        """
-c --change list  Apply Dockerfile instruction to the created image
-m --message string  Set commit message for imported image
   --platform string  Set platform if server is multi-platform capable
""",
        least=1,
    ),
}  # fmt: skip
