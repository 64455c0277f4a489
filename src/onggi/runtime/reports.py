"""The commands of `onggi-runtime` that only tell: state, list, ps, features, spec."""

from __future__ import annotations

import os
import sys

import msgspec

from onggi.errors import Conflict, InvalidArgument
from onggi.runtime import cgroupspaths
from onggi.runtime.bundles import Bundles, ContainerState, is_alive
from onggi.runtime.flags import Given


class Report(msgspec.Struct, rename="camel", omit_defaults=True):
    """What `state` and `list` print of a container: the spec's state and runc's additions."""

    oci_version: str
    id: str
    pid: int
    status: str
    bundle: str
    rootfs: str
    created: str
    annotations: dict[str, str] | None = None
    owner: str | None = None


def status_of(bundles: Bundles, state: ContainerState) -> str:
    """created, running, paused or stopped (runtime.md, "State"), as the kernel knows it now."""
    if not is_alive(state):
        return "stopped"
    if cgroupspaths.find(state.cgroup_path).is_frozen():
        return "paused"
    return "created" if bundles.waits_for_start(state.id) else "running"


def report(bundles: Bundles, state: ContainerState, owner: str) -> Report:
    status = status_of(bundles, state)
    return Report(
        oci_version=state.oci_version,
        id=state.id,
        pid=0 if status == "stopped" else state.pid,
        status=status,
        bundle=state.bundle,
        rootfs=state.rootfs,
        created=state.created,
        annotations=state.annotations or None,
        owner=owner,
    )


def state(options: Given, given: Given) -> int:
    bundles = Bundles(options.text("root"))
    found = bundles.load(given.rest[0])
    text = msgspec.json.format(msgspec.json.encode(report(bundles, found, "")), indent=2)
    # runc ends without a line feed too; who reads it by machine doesn't mind.
    sys.stdout.write(text.decode())
    return 0


def list_containers(options: Given, given: Given) -> int:
    bundles = Bundles(options.text("root"))
    reports = [report(bundles, state, state.owner) for state in bundles.all()]
    if "quiet" in given.switches:
        sys.stdout.write("".join(f"{one.id}\n" for one in reports))
    elif given.text("format") == "json":
        # Go writes null for a list that has never had an element.
        sys.stdout.write(msgspec.json.encode(reports or None).decode())
    elif given.text("format") == "table":
        rows: list[tuple[str, ...]] = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        rows += [(one.id, str(one.pid), one.status, one.bundle, one.created, one.owner or "") for one in reports]
        sys.stdout.write(_table(rows))
    else:
        raise InvalidArgument("invalid format option")
    return 0


def _table(rows: list[tuple[str, ...]]) -> str:
    """Columns as Go's tabwriter sets them: 12 wide at least, 3 apart."""
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join(cells) + row[-1] + "\n")
    return "".join(lines)


def ps(options: Given, given: Given) -> int:
    bundles = Bundles(options.text("root"))
    state = bundles.load(given.rest[0])
    if status_of(bundles, state) == "stopped":
        raise Conflict("container not running")
    pids = cgroupspaths.find(state.cgroup_path).pids()
    if given.text("format") == "json":
        sys.stdout.write(msgspec.json.encode(pids).decode())
        return 0
    import subprocess

    output = subprocess.run(["ps", *(given.rest[1:] or ["-ef"])], stdout=subprocess.PIPE, check=True, text=True).stdout
    lines = output.splitlines(keepends=True)
    titles = lines[0].split()
    if "PID" not in titles:
        raise InvalidArgument("couldn't find PID field in ps output")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    sys.stdout.write("".join([lines[0], *(line for line in lines[1:] if line.split()[column] in wanted)]))
    return 0


def spec(_: Given, given: Given) -> int:
    """An example to be edited; what is there is kept."""
    import json

    from onggi.runtime.example import example_json, rootless_json

    os.chdir(given.text("bundle") or ".")
    name = given.text("file")
    example = rootless_json() if "rootless" in given.switches else example_json()
    try:
        with open(name, "x", encoding="utf-8") as file:
            file.write(json.dumps(example, indent="\t"))
    except FileExistsError:
        raise Conflict(f"File {name} exists. Remove it first") from None
    return 0


def features(_: Given, __: Given) -> int:
    from onggi.runtime.features import features as supported

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(supported()), indent=4).decode() + "\n")
    return 0
