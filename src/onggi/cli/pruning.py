"""prune, of each kind and of all."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Exit
from onggi.cli.filters import parse_filters
from onggi.cli.units import human_size
from onggi.client import containers, images, networks, volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options

Filters = dict[str, list[str]]


def _confirmed(options: Options, warning: str, end: str = "\n") -> bool:
    """No, unless the user says yes or gave --force. The question goes to stdout, as docker's."""
    if options.on("force"):
        return True
    sys.stdout.write(f"WARNING! {warning}{end}Are you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() == "y"


def _filters(context: Context, options: Options) -> Filters:
    """The flag's, and those of the configuration's pruneFilters that the flag doesn't contradict."""
    found = parse_filters(options.list("filter"))
    for word in context.config.words("pruneFilters"):
        name, _, value = word.partition("=")
        opposite = name.removesuffix("!") if name.endswith("!") else f"{name}!"
        if value not in found.get(opposite, []) and value not in found.get(name, []):
            found.setdefault(name, []).append(value)
    return found


def _report(heading: str, names: list[str], freed: int | None = None) -> None:
    if names:
        sys.stdout.write(f"{heading}\n" + "".join(f"{name}\n" for name in names) + "\n")
    if freed is not None:
        sys.stdout.write(f"Total reclaimed space: {human_size(freed)}\n")


def _prune_containers(context: Context, filters: Filters) -> int:
    found = context.engine(containers.prune(filters))
    _report("Deleted Containers:", found["ContainersDeleted"] or [])
    return int(found["SpaceReclaimed"])


def _prune_images(context: Context, filters: Filters, *, all: bool) -> int:
    found = context.engine(images.prune(filters | {"dangling": ["false" if all else "true"]}))
    gone = [f"{action.lower()}: {what}" for item in found["ImagesDeleted"] or [] for action, what in item.items()]
    _report("Deleted Images:", gone)
    return int(found["SpaceReclaimed"])


def _prune_networks(context: Context, filters: Filters) -> int:
    _report("Deleted Networks:", context.engine(networks.prune(filters))["NetworksDeleted"] or [])
    return 0


def _prune_volumes(context: Context, filters: Filters) -> int:
    found = context.engine(volumes.prune(filters))
    _report("Deleted Volumes:", found["VolumesDeleted"] or [])
    return int(found["SpaceReclaimed"])


def _prune_cache(context: Context, filters: Filters, *, all: bool, keep: int | None = None) -> int:
    found = context.engine(images.build_prune(all=all, filters=filters, keep_storage=keep))
    _report("Deleted build cache objects:", found["CachesDeleted"] or [])
    return int(found["SpaceReclaimed"])


def _containers(context: Context, options: Options, words: list[str]) -> None:
    del words
    if _confirmed(options, "This will remove all stopped containers."):
        _report("", [], _prune_containers(context, _filters(context, options)))


def _images(context: Context, options: Options, words: list[str]) -> None:
    del words
    if _confirmed(options, f"This will remove {_which_images(options)}."):
        _report("", [], _prune_images(context, _filters(context, options), all=options.on("all")))


def _which_images(options: Options) -> str:
    return (
        "all images without at least one container associated to them" if options.on("all") else "all dangling images"
    )


def _networks(context: Context, options: Options, words: list[str]) -> None:
    del words
    if _confirmed(options, "This will remove all custom networks not used by at least one container."):
        _prune_networks(context, _filters(context, options))


def _volumes(context: Context, options: Options, words: list[str]) -> None:
    del words
    filters = _filters(context, options)
    if options.on("all"):
        if "all" in filters:
            raise Exit(1, f"conflicting options: cannot specify both --all and --filter all={filters['all'][0]}")
        filters["all"] = ["true"]
    which = "all local volumes" if options.on("all") else "anonymous local volumes"
    if _confirmed(options, f"This will remove {which} not used by at least one container."):
        _report("", [], _prune_volumes(context, filters))


def _builder(context: Context, options: Options, words: list[str]) -> None:
    del words
    which = "all build cache" if options.on("all") else "all dangling build cache"
    if _confirmed(options, f"This will remove {which}.", end=" "):
        keep = options.number("keep-storage")
        _report("", [], _prune_cache(context, _filters(context, options), all=options.on("all"), keep=keep))


def _system(context: Context, options: Options, words: list[str]) -> None:
    del words
    filters, everything = _filters(context, options), options.on("all")
    if options.on("volumes") and "until" in filters:
        raise Exit(1, 'ERROR: The "until" filter is not supported with "--volumes"')
    lines = ["all stopped containers", "all networks not used by at least one container"]
    lines += ["all anonymous volumes not used by at least one container"] if options.on("volumes") else []
    lines += [_which_images(options), "all build cache" if everything else "unused build cache"]
    text = "This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    shown = sorted(f"{name}={value}" for name in ("label", "label!", "until") for value in filters.get(name, []))
    if shown:
        text += "\n  Items to be pruned will be filtered with:\n" + "".join(f"  - {line}\n" for line in shown)
    if not _confirmed(options, text):
        return
    freed = _prune_containers(context, filters) + _prune_networks(context, filters)
    if options.on("volumes"):
        freed += _prune_volumes(context, filters)
    freed += _prune_images(context, filters, all=everything)
    cache_filters = {name: values for name, values in filters.items() if not name.startswith("label")}
    freed += _prune_cache(context, cache_filters, all=everything)
    _report("", [], freed)


_FORCE = "-f --force bool  Do not prompt for confirmation\n"
_UNTIL = '   --filter filter:filter  Provide filter values (e.g. "until=<timestamp>")\n'
_LABEL = '   --filter filter:filter  Provide filter values (e.g. "label=<label>")\n'

COMMANDS = {
    "containers": Command(_containers, "[OPTIONS]", "Remove all stopped containers", _UNTIL + _FORCE, most=0),
    "images": Command(
        _images, "[OPTIONS]", "Remove unused images",
        _UNTIL + _FORCE + "-a --all bool  Remove all unused images, not just dangling ones", most=0,
    ),
    "networks": Command(_networks, "[OPTIONS]", "Remove all unused networks", _UNTIL + _FORCE, most=0),
    "volumes": Command(
        _volumes, "[OPTIONS]", "Remove unused local volumes",
        _LABEL + _FORCE + "-a --all bool  Remove all unused volumes, not just anonymous ones", most=0,
    ),
    "builder": Command(
        _builder, "", "Remove build cache",
        _UNTIL + _FORCE
        + "-a --all bool  Remove all unused build cache, not just dangling ones\n   --keep-storage bytes  Amount of disk space to keep for cache",
        most=0,
    ),
    "system": Command(
        _system, "[OPTIONS]", "Remove unused data",
        _LABEL + _FORCE + "-a --all bool  Remove all unused images, not just dangling ones\n   --volumes bool  Prune anonymous volumes",
        most=0,
    ),
}  # fmt: skip
