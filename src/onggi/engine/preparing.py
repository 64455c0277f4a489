"""What a start needs before its shim is asked: namespaces, volumes, files, addresses, ports, and the plan made of them."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from onggi.engine import cdi, files, logconfig, modes, mountspecs, propagation, spec, userns
from onggi.engine.config import EndpointSettings, MountPoint
from onggi.engine.container import Container
from onggi.errors import Conflict, InvalidArgument, NotFound
from onggi.kernel import cgroups
from onggi.runtime.plan import LinkPlan, RootfsPlan
from onggi.runtime.protocol import StartContainer

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


class Preparation:
    """Makes the request; `engine` lends it the rooms. Holds, for all of it: the container's lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def prepare(self, container: Container) -> tuple[StartContainer, list[socket.socket], socket.socket | None]:
        """The request, the sockets that hold published ports, and the log's connection (all the caller's to close).

        Addresses and ports are the container's from here on: whoever fails later gives them back. Raises InvalidArgument,
        NotFound, Conflict in docker's words.
        """
        engine, row = self._engine, container.row
        config, host = row.config, row.host_config
        namespaces = self._namespaces(container)
        if namespaces.get("network") == "host" and set(row.endpoints) - {"host"}:
            raise InvalidArgument(
                "failed to set up container networking: container sharing network namespace with another container or host "
                "cannot be connected to any other network"
            )
        propagation.check(row.mounts)
        snapshot = engine.snapshots.prepare(container.id, engine.layers_of(container))
        for point in row.mounts:
            if point.type == "volume":
                await engine.volumes.mount(point.name)
            elif point.type == "bind" and not os.path.lexists(point.source):
                raise InvalidArgument(
                    f'invalid mount config for type "bind": bind source path does not exist: {point.source}'
                )
        links, endpoints, user_defined = self._attach_networks(container, namespaces)
        container.change(endpoints=endpoints)
        held = await engine.publishing.publish(container)
        directory = engine.snapshots.directory(container.id)
        plan = spec.make_plan(
            config,
            host,
            row.path,
            row.args,
            spec.Surroundings(
                hostname=self._hostname(container, namespaces),
                rootfs=RootfsPlan(
                    lower=snapshot.lower, upper=snapshot.upper, work=snapshot.work, limited=bool(host.storage_opt)
                ),
                mounts=row.mounts,
                files=self._files(container, directory, namespaces, user_defined=user_defined),
                links=links,
                namespaces=namespaces,
                dns=user_defined,
                cgroup_path=engine.cgroup_path(container),
                unified=cgroups.is_unified(),
                tmpfs_options={
                    mountspecs.target(one.target): mountspecs.tmpfs_words(one)
                    for one in host.mounts or ()
                    if one.type == "tmpfs"
                },
                id_maps=userns.of_container(engine.options.id_maps, host),
                images=self._images(row.mounts),
            ),
        )
        process = plan.spec.process
        if process is not None:
            process.env = spec.environment(
                config, hostname=plan.spec.hostname or self._hostname(container, namespaces), tty=config.tty
            )
        try:
            if host.device_requests:
                names = cdi.names_of(host.device_requests, cdi.read)
                cdi.inject(plan.spec, names, cdi.read(), spec.device_nodes)
            log, connection = await logconfig.prepare(container, directory)
        except BaseException:
            for sock in held:
                sock.close()
            raise
        request = StartContainer(
            container_id=container.id,
            plan=plan,
            cgroup_path=engine.cgroup_path(container),
            log=log,
            tty=config.tty,
            open_stdin=config.open_stdin,
            stdin_once=config.stdin_once,
        )
        return request, list(held), connection

    def _images(self, points: list[MountPoint]) -> dict[str, list[str]]:
        """Layers of images that are mounted, by destination. Raises NotFound for one that has been removed."""
        engine, found = self._engine, {}
        for point in points:
            if point.type == "image":
                layers = engine.images.resolve(point.source).layers
                found[point.destination] = [engine.layers.path(layer) for layer in reversed(layers)]
        return found

    def _namespaces(self, container: Container) -> dict[str, str]:
        """Kind → namespace to join or "host". Raises Conflict when the other container doesn't run."""
        host = container.row.host_config
        found: dict[str, str] = {}
        for mode, kind, name in (
            (host.network_mode, "network", "net"),
            (host.ipc_mode, "ipc", "ipc"),
            (host.pid_mode, "pid", "pid"),
        ):
            if mode == "host":
                found[kind] = "host"
            elif mode.startswith(modes.OTHER):
                pid = self._joined(mode.removeprefix(modes.OTHER), kind).row.pid
                found[kind] = f"/proc/{pid}/ns/{name}"
                if kind == "network":
                    found["uts"] = "" if host.uts_mode else f"/proc/{pid}/ns/uts"
        if host.uts_mode == "host" or (found.get("network") == "host" and not container.row.config.hostname):
            found["uts"] = "host"
        return {kind: path for kind, path in found.items() if path}

    def _joined(self, text: str, kind: str) -> Container:
        """The container whose namespace is to be joined. Raises NotFound, Conflict, InvalidArgument in docker's words."""
        what = f"{kind if kind == 'network' else kind.upper()} namespace"
        try:
            other = self._engine.containers.get(text)
        except NotFound as error:
            raise NotFound(f"joining {what} of container: {error}") from None
        if not other.is_alive and kind == "network":
            raise Conflict(f"cannot join {what} of a non running container: container {other.name} is {other.state}")
        if not other.is_alive:
            raise Conflict(f"failed to join {what}: container {other.id} is not running")
        if kind == "ipc" and other.row.host_config.ipc_mode not in ("shareable", "host"):
            raise InvalidArgument(
                f"failed to join {what}: container {other.id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            )
        return other

    def _hostname(self, container: Container, namespaces: dict[str, str]) -> str:
        if namespaces.get("uts"):
            return container.row.config.hostname or os.uname().nodename
        return container.row.config.hostname or container.id[:12]

    def _attach_networks(
        self, container: Container, namespaces: dict[str, str]
    ) -> tuple[list[LinkPlan], dict[str, EndpointSettings], bool]:
        if namespaces.get("network"):
            return [], container.row.endpoints, False
        return self._engine.endpoints.attach_all(container)

    def _files(
        self, container: Container, directory: str, namespaces: dict[str, str], *, user_defined: bool
    ) -> dict[str, str]:
        """hostname, hosts and resolv.conf of the container, or those of the one whose network it shares."""
        engine, row = self._engine, container.row
        host = row.host_config
        names = ("hostname", "hosts", "resolv.conf")
        if host.network_mode.startswith("container:"):
            other = engine.containers.get(host.network_mode.removeprefix("container:"))
            shared = engine.snapshots.directory(other.id)
            return {f"/etc/{name}": os.path.join(shared, name) for name in names}
        hostname = self._hostname(container, namespaces)
        found = {"/etc/hostname": files.write(directory, "hostname", hostname + "\n")}
        if namespaces.get("network") == "host":
            hosts = files.read_text("/etc/hosts")
            found["/etc/hosts"] = files.write(
                directory,
                "hosts",
                hosts
                + "".join(f"{a.strip('[]')}\t{n}\n" for n, _, a in (w.partition(":") for w in host.extra_hosts or ())),
            )
        else:
            full = f"{hostname}.{row.config.domainname} {hostname}" if row.config.domainname else hostname
            addresses = [e.ip_address for e in row.endpoints.values() if e.ip_address]
            own = [(address, full) for address in addresses] + engine.endpoints.links_of(container)
            extra = [word.replace("host-gateway", engine.networks.host_gateway()) for word in host.extra_hosts or ()]
            found["/etc/hosts"] = files.write(directory, "hosts", files.hosts(own, extra))
        is_hosts = namespaces.get("network") == "host" and not host.dns
        text = files.read_text("/etc/resolv.conf") if is_hosts else self._resolv_conf(container, embedded=user_defined)
        found["/etc/resolv.conf"] = files.write(directory, "resolv.conf", text)
        return found

    def _resolv_conf(self, container: Container, *, embedded: bool) -> str:
        host, options = container.row.host_config, self._engine.options
        return files.resolv_conf(
            files.host_resolv_conf(), embedded=embedded, servers=host.dns or options.dns,
            search=host.dns_search or options.dns_search, options=host.dns_options or options.dns_options,
        )  # fmt: skip

    def use_names(self, container: Container) -> None:
        """A container that runs has come into its first network with names: its resolv.conf leads to them from now on."""
        directory = self._engine.snapshots.directory(container.id)
        files.write(directory, "resolv.conf", self._resolv_conf(container, embedded=True))
