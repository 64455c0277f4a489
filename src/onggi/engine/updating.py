"""POST /containers/{id}/update: what docker lets be changed, at once where it runs.

Source of rules and texts: moby daemon/update.go and container/container_unix.go, UpdateContainer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from onggi.engine import changing, limits, restart
from onggi.engine.config import HostConfig, UpdateBody
from onggi.engine.container import TABLE, Container, State
from onggi.errors import Conflict, InvalidArgument
from onggi.kernel import cgroups
from onggi.store.database import Put

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_THROTTLES = frozenset(
    f"blkio_{name}"
    for name in ("weight_device", "device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")
)
_CHANGEABLE = _THROTTLES | frozenset(
    "blkio_weight cpu_shares cpu_period cpu_quota cpu_realtime_period cpu_realtime_runtime cpuset_cpus cpuset_mems memory memory_swap "
    "memory_reservation nano_cpus pids_limit".split()
)
"""Of Resources; the rest is as it was made. Devices, ulimits and the like are accepted and change nothing, as with dockerd."""


async def update(engine: Engine, container: Container, body: UpdateBody, given: frozenset[str]) -> list[str]:
    """Changes what came (`given`: names as in JSON, in small letters). Warnings. Raises InvalidArgument, Conflict.

    Cancelled: before the commit nothing has changed but limits of the running container, which its next start has anew.
    """
    fields = {
        name: getattr(body, name)
        for name in UpdateBody.__struct_fields__
        if name.replace("_", "") in given and name in _CHANGEABLE
    }
    async with container.lock:
        host = container.row.host_config
        try:
            _check_against(host, fields)
            if "restartpolicy" in given and body.restart_policy is not None:
                if host.auto_remove and body.restart_policy.name not in ("", "no"):
                    raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
                restart.check(body.restart_policy, auto_remove=False)
                fields["restart_policy"] = body.restart_policy
        except Conflict as error:
            raise Conflict(f"Cannot update container {container.id}: {error}") from None
        if "pids_limit" in fields:
            fields["pids_limit"] = max(0, fields["pids_limit"] or 0)
        changed = msgspec.structs.replace(host, **fields)
        warnings = limits.check(changed, update=True)
        if container.is_alive and set(fields) - {"restart_policy"}:
            await _apply(engine, container, changed)
        container.change(host_config=changed)
        if body.onggi is not None:
            await changing.change(engine, container, body.onggi)
        if container.state == State.RESTARTING and not restart.wants_another(container):
            engine.waiting.give_up(container)
        await engine.database.commit(Put(TABLE, container.id, container.row))
    engine.events.emit("container", "update", container.id, container.attributes)
    return warnings


async def _apply(engine: Engine, container: Container, changed: HostConfig) -> None:
    group = cgroups.open(engine.cgroup_path(container))
    resources = limits.to_spec(changed, devices=[])
    if changed.pids_limit == 0:
        resources = msgspec.structs.replace(resources, pids=cgroups.Pids(-1))
    try:
        await asyncio.to_thread(group.apply, resources)
    except OSError as error:
        raise Conflict(f"Cannot update container {container.id}: {error.strerror}") from error


def _check_against(host: HostConfig, fields: dict[str, Any]) -> None:
    """What came against what is there. Raises Conflict."""
    if fields.get("memory") and "memory_swap" not in fields and 0 < host.memory_swap < fields["memory"]:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    if fields.get("nano_cpus"):
        for name, text in (("cpu_period", "CPU Period"), ("cpu_quota", "CPU Quota")):
            if fields.get(name):
                raise InvalidArgument(f"Conflicting options: Nano CPUs and {text} cannot both be set")
            if getattr(host, name):
                raise Conflict(f"Conflicting options: Nano CPUs cannot be updated as {text} has already been set")
    for name, text in (("cpu_period", "CPU Period"), ("cpu_quota", "CPU Quota")):
        if fields.get(name) and host.nano_cpus:
            raise Conflict(f"Conflicting options: {text} cannot be updated as NanoCPUs has already been set")
