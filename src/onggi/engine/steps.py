"""RUN steps of builds: a process in a container of its own that no record knows, on the network that the build asks for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

from onggi.build.runner import RunStep, StepEnd
from onggi.engine import cdi, files, spec
from onggi.engine.config import ContainerConfig, HostConfig, Ulimit
from onggi.errors import InvalidArgument, OnggiError
from onggi.kernel import cgroups
from onggi.network import EndpointRequest
from onggi.runtime.client import AttachSocket
from onggi.runtime.plan import RootfsPlan
from onggi.runtime.protocol import AttachPlan, LogPlan, StartContainer

if TYPE_CHECKING:
    from onggi.engine.engine import Engine
    from onggi.runtime.handles import Shim


class Steps:
    """The build's StepRunner."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self, step: RunStep) -> StepEnd:
        """See StepRunner. Cancelled: the process is killed and everything of it is gone before this raises."""
        engine = self._engine
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        theirs.setblocking(False)
        shim: Shim | None = None
        try:
            try:
                request = self._request(step)
                # One stream for both: output is told in the order in which it was written.
                plan = AttachPlan(stdin=step.talk is not None, stdout=True, stderr=True, patience_s=3600.0)
                shim = await engine.runtime.start(request, attach=[AttachSocket(theirs.fileno(), plan)])
            finally:
                theirs.close()
            if shim.dns_fds:
                fds, shim.dns_fds[:] = list(shim.dns_fds), []
                await engine.networks.serve_names(step.container_id, fds)
            await (step.talk(ours) if step.talk else _read(ours, step))
            record = await shim.wait()
            return StepEnd(record.exit_code, record.oom_killed)
        finally:
            ours.close()
            await asyncio.shield(self._end(step, shim))

    async def _end(self, step: RunStep, shim: Shim | None) -> None:
        engine = self._engine
        if shim is not None:
            with contextlib.suppress(OnggiError):
                await shim.kill(9)
            await shim.wait()
            await shim.forget()
        engine.networks.forget_names(step.container_id)
        for network_id in list(engine.networks.members.of(step.container_id)):
            engine.networks.members.detach(step.container_id, network_id)

    def _request(self, step: RunStep) -> StartContainer:
        engine, limits = self._engine, step.limits
        host = HostConfig(
            memory=limits.memory_bytes, memory_swap=limits.memory_swap_bytes, cpu_shares=limits.cpu_shares, cpu_period=limits.cpu_period,
            cpu_quota=limits.cpu_quota, cpuset_cpus=limits.cpuset_cpus, cpuset_mems=limits.cpuset_mems, shm_size=limits.shm_bytes,
            ulimits=[Ulimit(name, hard, soft) for name, soft, hard in limits.ulimits], privileged=step.privileged,
        )  # fmt: skip
        config = ContainerConfig(user=step.user, working_dir=step.cwd, env=list(step.env))
        namespaces: dict[str, str] = {}
        links = []
        user_defined = False
        if step.network == "host":
            namespaces["network"] = "host"
        elif step.network.startswith("container:"):
            other = engine.containers.get(step.network.removeprefix("container:"))
            namespaces["network"] = f"/proc/{other.must_be_alive().pid}/ns/net"
        elif step.network != "none":
            network = engine.networks.resolve(step.network or "bridge")
            user_defined = network.is_user_defined
            endpoint = engine.networks.members.attach(
                step.container_id, network, EndpointRequest(names=[step.container_id[:12]])
            )
            if network.driver == "bridge":
                links.append(endpoint.link("eth0", default_route=True))
        hostname = step.hostname
        around = spec.Surroundings(
            hostname=hostname,
            rootfs=RootfsPlan(lower=step.snapshot.lower, upper=step.snapshot.upper, work=step.snapshot.work),
            mounts=[],
            files=self._files(step, hostname, embedded=user_defined, on_host=namespaces.get("network") == "host"),
            links=links,
            namespaces=namespaces,
            dns=user_defined,
            cgroup_path=engine.cgroups.path(step.container_id, limits.cgroup_parent),
            unified=cgroups.is_unified(),
        )
        if not step.args:
            raise InvalidArgument("a step without a command")
        plan = spec.make_plan(config, host, step.args[0], list(step.args[1:]), around)
        if plan.spec.process is not None:
            plan.spec.process.env = list(step.env)
        plan.spec.mounts += list(step.mounts)
        if step.devices:
            registry = cdi.read()
            cdi.inject(plan.spec, _device_names(step, registry), registry, spec.device_nodes)
        return StartContainer(
            container_id=step.container_id,
            plan=plan,
            cgroup_path=around.cgroup_path,
            log=LogPlan(driver="none"),
            open_stdin=step.talk is not None,
            stdin_once=step.talk is not None,
        )

    def _files(self, step: RunStep, hostname: str, *, embedded: bool, on_host: bool) -> dict[str, str]:
        directory = os.path.dirname(step.snapshot.upper)
        addresses = [endpoint.address4 for endpoint in self._engine.networks.members.of(step.container_id).values()]
        options = self._engine.options
        resolv = files.host_resolv_conf() if on_host else files.resolv_conf(
            files.host_resolv_conf(), embedded=embedded, servers=options.dns, search=options.dns_search, options=options.dns_options
        )  # fmt: skip
        extra = [word.replace("host-gateway", self._engine.networks.host_gateway()) for word in step.extra_hosts]
        return {
            "/etc/hosts": files.write(directory, "hosts", files.hosts([(a, hostname) for a in addresses if a], extra)),
            "/etc/resolv.conf": files.write(directory, "resolv.conf", resolv),
        }


def _device_names(step: RunStep, registry: cdi.Registry) -> list[str]:
    """Qualified names for `vendor/class=name`, `vendor/class=*` (all of a kind) and `vendor/class` (its first).

    Raises InvalidArgument for a required one that nothing describes; others are left out (BuildKit's cdidevices).
    """
    found: list[str] = []
    for device in step.devices:
        kind, _, name = device.name.partition("=")
        known = [each for each in registry.devices if each.startswith(f"{kind}=")]
        names = known if name == "*" else known[:1] if not name else [each for each in known if each == device.name]
        if not names and device.required:
            raise InvalidArgument(f'required device "{device.name}" is not registered')
        found += names
    return list(dict.fromkeys(found))


async def _read(sock: socket.socket, step: RunStep) -> None:
    """Docker's frames until the step's streams end; what is in them goes to the build's output."""
    loop, buffer = asyncio.get_running_loop(), bytearray()
    while data := await loop.sock_recv(sock, 1 << 16):
        buffer += data
        while len(buffer) >= 8:
            end = 8 + int.from_bytes(buffer[4:8], "big")
            if len(buffer) < end:
                break
            step.output(buffer[0], bytes(buffer[8:end]))
            del buffer[:end]
