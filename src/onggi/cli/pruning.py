"""prune, of each kind and of all."""

from __future__ import annotations

import sys

from onggi.cli.filters import parse_filters
from onggi.cli.main import Command, Exit
from onggi.cli.units import human_size
from onggi.client import containers, images, networks, volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.flags import Options
    from onggi.cli.main import Context


def _ask(options: Options, warning: str) -> bool:
    """No, unless the user says yes at a terminal or gave --force."""
    if options.on("force"):
        return True
    sys.stderr.write(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _report(heading: str, names: list[str], freed: int | None) -> None:
    if names:
        sys.stdout.write(f"{heading}\n" + "".join(f"{name}\n" for name in names) + "\n")
    if freed is not None:
        sys.stdout.write(f"Total reclaimed space: {human_size(freed)}\n")


def _containers(context: Context, options: Options, words: list[str]) -> None:
    del words
    if not _ask(options, "This will remove all stopped containers."):
        raise Exit(1)
    found = context.engine(containers.prune(parse_filters(options.list("filter"))))
    _report("Deleted Containers:", found["ContainersDeleted"] or [], found["SpaceReclaimed"])


def _deleted(found: list[dict[str, str]]) -> list[str]:
    return [f"{action.lower()}: {what}" for item in found for action, what in item.items()]


def _images(context: Context, options: Options, words: list[str]) -> None:
    del words
    what = (
        "all images without at least one container associated to them" if options.on("all") else "all dangling images"
    )
    if not _ask(options, f"This will remove {what}."):
        raise Exit(1)
    filters = parse_filters(options.list("filter")) | {"dangling": ["false" if options.on("all") else "true"]}
    found = context.engine(images.prune(filters))
    _report("Deleted Images:", _deleted(found["ImagesDeleted"] or []), found["SpaceReclaimed"])


def _networks(context: Context, options: Options, words: list[str]) -> None:
    del words
    if not _ask(options, "This will remove all custom networks not used by at least one container."):
        raise Exit(1)
    found = context.engine(networks.prune(parse_filters(options.list("filter"))))
    _report("Deleted Networks:", found["NetworksDeleted"] or [], None)


def _volumes(context: Context, options: Options, words: list[str]) -> None:
    del words
    which = "all local volumes" if options.on("all") else "anonymous local volumes"
    if not _ask(options, f"This will remove {which} not used by at least one container."):
        raise Exit(1)
    filters = parse_filters(options.list("filter"))
    if options.on("all"):
        filters["all"] = ["true"]
    found = context.engine(volumes.prune(filters))
    _report("Deleted Volumes:", found["VolumesDeleted"] or [], found["SpaceReclaimed"])


def _builder(context: Context, options: Options, words: list[str]) -> None:
    del words
    which = "all build cache" if options.on("all") else "all dangling build cache"
    if not _ask(options, f"This will remove {which}."):
        raise Exit(1)
    found = context.engine(images.build_prune(all=options.on("all"), filters=parse_filters(options.list("filter"))))
    _report("Deleted build cache objects:", found["CachesDeleted"] or [], None)
    sys.stdout.write(f"Total:\t{human_size(found['SpaceReclaimed'])}\n")


def _system(context: Context, options: Options, words: list[str]) -> None:
    del words
    lines = ["  - all stopped containers", "  - all networks not used by at least one container"]
    lines += ["  - all anonymous volumes not used by at least one container"] if options.on("volumes") else []
    lines += [
        "  - all images without at least one container associated to them"
        if options.on("all")
        else "  - all dangling images",
        "  - unused build cache",
    ]
    if not _ask(options, "This will remove:\n" + "\n".join(lines) + "\n"):
        raise Exit(1)
    filters = parse_filters(options.list("filter"))
    found = context.engine(containers.prune(filters))
    freed = found["SpaceReclaimed"]
    _report("Deleted Containers:", found["ContainersDeleted"] or [], None)
    _report("Deleted Networks:", context.engine(networks.prune(filters))["NetworksDeleted"] or [], None)
    if options.on("volumes"):
        gone = context.engine(volumes.prune(filters))
        freed += gone["SpaceReclaimed"]
        _report("Deleted Volumes:", gone["VolumesDeleted"] or [], None)
    removed = context.engine(images.prune(filters | {"dangling": ["false" if options.on("all") else "true"]}))
    _report("Deleted Images:", _deleted(removed["ImagesDeleted"] or []), None)
    cache = context.engine(images.build_prune(all=options.on("all")))
    sys.stdout.write(
        f"Total reclaimed space: {human_size(freed + removed['SpaceReclaimed'] + cache['SpaceReclaimed'])}\n"
    )


_FLAGS = "   --filter list  Provide filter values\n-f --force bool  Do not prompt for confirmation\n"
_ALL = "-a --all bool  Remove all unused ones, not just dangling or anonymous ones\n"

COMMANDS = {
    "containers": Command(_containers, "[OPTIONS]", "Remove all stopped containers", _FLAGS, most=0),
    "images": Command(_images, "[OPTIONS]", "Remove unused images", _FLAGS + _ALL, most=0),
    "networks": Command(_networks, "[OPTIONS]", "Remove all unused networks", _FLAGS, most=0),
    "volumes": Command(_volumes, "[OPTIONS]", "Remove unused local volumes", _FLAGS + _ALL, most=0),
    "builder": Command(_builder, "[OPTIONS]", "Remove build cache", _FLAGS + _ALL, most=0),
    "system": Command(
        _system,
        "[OPTIONS]",
        "Remove unused data",
        _FLAGS + _ALL + "   --volumes bool  Prune anonymous volumes\n",
        most=0,
    ),
}
