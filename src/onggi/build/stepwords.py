"""The words of RUN, COPY and ADD made into what a step needs: commands, mounts, destinations, texts of history. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Sequence
from typing import Final

from onggi.build.errors import BuildFailed
from onggi.build.fetching import is_remote
from onggi.build.gitwords import is_git
from onggi.build.instructions import Copy, Run
from onggi.build.lines import heredoc_start
from onggi.build.runmounts import RunMount
from onggi.build.shellwords import Lexer
from onggi.errors import InvalidArgument
from onggi.globs import steps_of
from onggi.ignore import clean

SCRIPTS: Final = "/dev/pipes"
"""Where BuildKit puts the script of a heredoc that names its own interpreter."""

_SECRETS: Final = "/run/secrets"
_AGENT: Final = "/run/buildkit/ssh_agent"


def command_of(instruction: Run, shell: tuple[str, ...]) -> tuple[list[str], tuple[str, str] | None]:
    """The words to run, and the heredoc that must be a file for it: its name and body.

    A heredoc alone is the shell's command, or with `#!` a program; with anything around it the shell gets the whole text.
    Raises BuildFailed, InvalidArgument.
    """
    if instruction.is_json:
        if not instruction.words:
            raise BuildFailed("No command specified")
        return list(instruction.words), None
    if not instruction.words:
        return list(shell), None
    text = instruction.words[0]
    if not instruction.heredocs:
        return [*shell, text], None
    if is_alone(instruction):
        first = instruction.heredocs[0]
        if not first.text.startswith("#!"):
            return [*shell, first.text], None
        if "/" in first.name:
            raise InvalidArgument(f"a heredoc's name can't be a path: {first.name!r}")
        return [*shell, f"{SCRIPTS}/{first.name}"], (first.name, first.text)
    whole = text + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in instruction.heredocs)
    return [*shell, whole], None


def is_alone(instruction: Run) -> bool:
    """Whether the heredoc is all that RUN has."""
    if len(instruction.heredocs) != 1 or not instruction.words:
        return False
    words = Lexer(raw_quotes=True, raw_escapes=True, skip_unset=True).words(instruction.words[0], {})
    begun = heredoc_start(words[0]) if len(words) == 1 else None
    return begun is not None and begun[0] == instruction.heredocs[0].name


def summary(text: str) -> str:
    """The first line of a heredoc, for the step's name."""
    first, more, _ = text.strip().replace("\r\n", "\n").partition("\n")
    return f"{first}..." if more else first


def complete(mount: RunMount, directory: str, namespace: str) -> None:
    """Defaults that depend on the kind, and an absolute target. Raises InvalidArgument."""
    match mount.kind:
        case "secret":
            mount.identifier = mount.source or mount.identifier or posixpath.basename(mount.target)
            if not mount.target and mount.env is None:
                mount.target = f"{_SECRETS}/{posixpath.basename(mount.identifier)}"
            if mount.target:
                mount.target = posixpath.normpath(posixpath.join("/", directory, mount.target))
            if mount.env == "":
                mount.env = mount.identifier
            return
        case "ssh":
            mount.identifier = mount.identifier or "default"
            if mount.target:
                mount.target = posixpath.normpath(posixpath.join("/", directory, mount.target))
            return
        case "cache":
            mount.identifier = f"{namespace}/{mount.identifier or posixpath.normpath(mount.target)}"
            mount.sharing = mount.sharing or "shared"
    target = posixpath.normpath(posixpath.join("/", directory, mount.target)).replace("//", "/")
    if target == "/":
        raise InvalidArgument(f'invalid mount target "{mount.target or "/"}"')
    mount.target = target


def agent_target(number: int) -> str:
    """Where the socket of a step's `number`th ssh mount is, which says no place of its own."""
    return f"{_AGENT}.{number}"


def check_sources(instruction: Copy, sources: Sequence[str]) -> None:
    """What may be copied by whom. Raises BuildFailed, InvalidArgument in BuildKit's words."""
    if instruction.checksum:
        if not instruction.add:
            raise InvalidArgument("checksum can't be specified for COPY")
        if len(sources) != 1:
            raise InvalidArgument("checksum can't be specified for multiple sources")
        if not is_remote(sources[0]) and not is_git(sources[0]):
            raise InvalidArgument("checksum requires HTTP(S) or Git sources")
    if not instruction.add:
        for source in sources:
            if is_git(source):
                raise BuildFailed("source can't be a git ref for COPY")
            if is_remote(source):
                raise BuildFailed("source can't be a URL for COPY")


def check_entitlements(instruction: Run, network: str, granted: Collection[str]) -> None:
    """What a step may ask for only when its client allows it. Raises BuildFailed."""
    wanted = (
        ("network.host", network == "host", "build with --network=host or --allow network.host"),
        ("device", bool(instruction.devices), "build with --allow device"),
        ("security.insecure", instruction.security == "insecure", "build with --allow security.insecure"),
    )
    # `device=vendor.com/class` allows a kind of devices: naming one is enough here.
    names = {each.partition("=")[0] for each in granted}
    for name, asked, hint in wanted:
        if asked and name not in names:
            raise BuildFailed(f"granting entitlement {name} is not allowed: {hint}")


def told(instruction: Copy, chown: str, chmod: str, sources: Sequence[str], destination: str) -> list[str]:
    """What history says of a COPY, beside its name."""
    words = ["--parents"] if instruction.parents else []
    words += [f"--chown={chown}"] if chown else []
    words += [f"--chmod={chmod}"] if chmod else []
    return [*words, *sources, *(f"<<{heredoc.name}" for heredoc in instruction.heredocs), destination]


def destination(text: str, directory: str) -> str:
    """Absolute and clean; a slash at its end, which says that it is a directory, stays."""
    joined = posixpath.join(directory, text)
    path = clean(joined if joined.startswith("/") else f"/{joined}")
    is_directory = text in ("", ".") or text.endswith(("/", "/."))
    return f"{path}/" if is_directory and path != "/" else path


def followed(path: str) -> str:
    """What a client must send for a source of COPY --parents: whole directories where the path alone doesn't say which."""
    before, pivot, _ = path.partition("/./")
    if pivot:
        path = before or "/"
    parts = steps_of(path)
    return "/".join(parts[: parts.index("**")]) or "/" if "**" in parts else path
