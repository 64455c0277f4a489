"""RUN: its mounts, its process, its key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from onggi.build import stepwords, trees
from onggi.build.errors import BuildFailed
from onggi.build.keys import StepKey, step_key
from onggi.build.plan import Kind, RunStepPlan
from onggi.build.request import Remains
from onggi.build.runmounts import RunMount
from onggi.build.runner import RunStep
from onggi.oci.digest import Digest
from onggi.oci.platform import Platform, host_platform
from onggi.oci.runtime import Mount
from onggi.store.layers import LayerInfo
from onggi.store.snapshots import Snapshot

if TYPE_CHECKING:
    from onggi.build.flights import Listener
    from onggi.build.solving import Solving

_SECRET_LIMIT: Final = 500 * 1024
"""BuildKit's own (session/secrets): a secret goes in one message there."""


_NO_EMULATION: Final = "exec format error"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a mount shows of an origin: the layers, and a path in their tree."""

    layers: Sequence[Digest]
    path: str


class Running:
    """One RUN of one build; `number` is that of the platform."""

    def __init__(self, solving: Solving, number: int, step: RunStepPlan, layers: Sequence[Digest]) -> None:
        self._solving, self._number, self._step, self._layers = solving, number, step, layers
        self._shown: dict[int, Shown] = {}

    @property
    def has_own(self) -> bool:
        """Whether the step uses what only its client has: then no other build may do it for this one."""
        return any(mount.kind in ("secret", "ssh") for mount, _ in self._step.mounts)

    async def gather(self) -> None:
        """Waits for what the mounts show. Raises BuildFailed."""
        for number, (mount, origin) in enumerate(self._step.mounts):
            if origin.kind is not Kind.SCRATCH:
                self._shown[number] = await self._solving.shown(origin, mount.source or "/", self._number)

    def key(self) -> StepKey:
        """Hosts by name, not by address; no proxies, no resource limits: they are the machine's, not the step's."""
        step, options = self._step, self._solving.options
        return step_key(
            ("step", "run"),
            ("files of the steps before", tuple(self._layers)),
            ("command", step.command),
            ("script", step.script),
            *((f"variable {word.partition('=')[0]}", word) for word in sorted(step.environment)),
            ("user", step.user),
            ("working directory", step.directory),
            *(self._mount_key(number, mount) for number, (mount, _) in enumerate(step.mounts)),
            ("network", step.network),
            ("security", step.insecure),
            ("devices", tuple((device.name, device.required) for device in step.devices)),
            ("hosts", tuple(host.partition(":")[0].partition("=")[0] for host in options.extra_hosts)),
            ("hostname", options.sandbox_hostname),
            ("ulimits", options.limits.ulimits),
            ("cgroup parent", options.limits.cgroup_parent),
            ("platform", str(step.platform)),
        )

    def content(self) -> Callable[[], Awaitable[StepKey]] | None:
        """The key by what the mounts hold, for when they were reached another way; None where nothing is mounted."""
        if not self._shown:
            return None

        async def by_content() -> StepKey:
            digests = [await self._solving.digest_of(shown) for shown in self._shown.values()]
            return self.key().with_parts(("content of mounts", tuple(digests)))

        return by_content

    def _mount_key(self, number: int, mount: RunMount) -> tuple[str, object]:
        label = f"mount {mount.target or mount.identifier}"
        shown = self._shown.get(number)
        if mount.kind == "cache":
            return label, ("cache", mount.target)
        place = (mount.kind, mount.target, mount.size, mount.env, mount.mode, mount.uid, mount.gid, mount.read_only)
        if mount.kind in ("secret", "ssh"):
            return label, (*place, mount.identifier)
        return label, (*place, tuple(shown.layers), mount.source) if shown else place

    async def make(self, listener: Listener) -> LayerInfo:
        """Runs it. Raises BuildFailed. Cancelled: the process and all that was mounted are gone."""
        step = self._step
        layering = self._solving.builder.layering
        async with contextlib.AsyncExitStack() as stack:
            snapshot = await stack.enter_async_context(layering.step(self._layers, run=True))
            stubs = Stubs(snapshot)
            mounts, variables = [], []
            if step.script is not None:
                mounts.append(_script(snapshot, *step.script))
                stubs.file(mounts[0].destination)
            agents = 0
            for number, (asked, _) in enumerate(step.mounts):
                mount = asked
                if asked.kind == "ssh" and not asked.target:
                    mount = replace(asked, target=stepwords.agent_target(agents))
                agents += mount.kind == "ssh"
                maker = Mounting(self._solving, snapshot, stubs, self._shown.get(number), f"mount{number}")
                made, words = await maker.make(mount, stack)
                mounts += made
                variables += words
            run = RunStep(
                container_id=snapshot.container_id,
                snapshot=replace(snapshot, lower=[*snapshot.lower, *stubs.directories]),
                args=step.command,
                env=(*step.environment, *step.proxies, *variables),
                user=step.user,
                cwd=step.directory,
                output=listener,
                network=step.network,
                extra_hosts=self._solving.options.extra_hosts,
                limits=self._solving.options.limits,
                mounts=tuple(mounts),
                hostname=self._solving.options.sandbox_hostname,
                privileged=step.insecure,
                devices=step.devices,
            )
            try:
                return await layering.run(run)
            except BuildFailed as error:
                if str(error).endswith(_NO_EMULATION) and (other := _emulation(step.platform)):
                    raise BuildFailed(f"{error}: {other}") from error
                if self._solving.options.keep_failed and error.code:
                    layer = (await layering.capture(snapshot)).diff_id
                    self._solving.hold(layer)
                    error.remains = self._remains(run, layer, mounts)
                raise

    def _remains(self, run: RunStep, layer: Digest, mounts: Sequence[Mount]) -> Remains:
        """What a failed step leaves; nothing of it is a secret."""
        shown = {mount.target: self._shown.get(number) for number, (mount, _) in enumerate(self._step.mounts)}
        binds = [(each.source, each.destination, "ro" in each.options) for each in mounts if each.type == "bind"]
        trees = [
            (tuple(tree.layers), tree.path, each.destination)
            for each in mounts
            if each.type == "overlay" and (tree := shown.get(each.destination)) is not None
        ]
        return Remains(
            (*self._layers, layer),
            run.env,
            run.user,
            run.cwd,
            run.args,
            tuple(bind for bind in binds if self._lasts(bind[0])),
            tuple(trees),
        )

    def _lasts(self, source: str) -> bool:
        """Whether a mount's source is still there when the step has ended: not a secret, not a socket, not a script."""
        return not source.startswith(self._solving.builder.private.root) and "/containers/" not in source


def _emulation(platform: Platform | None) -> str:
    """What a program for another machine would need; "" for one that is for this."""
    here = host_platform()
    if platform is None or platform.architecture == here.architecture:
        return ""
    return (
        f"emulation not available for {platform}: this machine is {here}, "
        f"and binfmt_misc has no program registered that runs {platform.architecture} (qemu-user-static brings them)"
    )


def _script(snapshot: Snapshot, name: str, body: str) -> Mount:
    """The script as a file beside the step's directories, which go with it."""
    path = os.path.join(os.path.dirname(snapshot.upper), "script")
    with open(path, "wb") as file:
        file.write(body.encode("utf-8", "surrogateescape"))
        os.fchmod(file.fileno(), 0o755)
    return Mount(f"{stepwords.SCRIPTS}/{name}", "bind", path, ["bind", "ro", "rprivate"])


class Stubs:
    """Places of mounts, in a directory below all layers: nothing of a mount is left in the layer that the step makes."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._root = os.path.join(os.path.dirname(snapshot.upper), "stubs")
        self._used = False

    @property
    def directories(self) -> list[str]:
        return [self._root] if self._used else []

    def directory(self, path: str) -> None:
        self._used = True
        os.makedirs(self._root, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            os.makedirs(self._root + path, mode=0o755, exist_ok=True)

    def file(self, path: str) -> None:
        self.directory(os.path.dirname(path))
        with contextlib.suppress(OSError), open(self._root + path, "xb"):
            pass


class Mounting:
    """Makes one mount of a step; `name` is that of its own directory beside the step's."""

    def __init__(self, solving: Solving, snapshot: Snapshot, stubs: Stubs, shown: Shown | None, name: str) -> None:
        self._solving, self._stubs, self._shown = solving, stubs, shown
        self._place = os.path.join(os.path.dirname(snapshot.upper), name)

    async def make(self, mount: RunMount, stack: contextlib.AsyncExitStack) -> tuple[list[Mount], list[str]]:
        """The spec's mounts, and words for the environment."""
        match mount.kind:
            case "tmpfs":
                self._stubs.directory(mount.target)
                size = [f"size={mount.size}"] if mount.size else []
                words = ["nosuid", "nodev", "mode=1777", *size, *(["ro"] if mount.read_only else [])]
                return [Mount(mount.target, "tmpfs", "tmpfs", words)], []
            case "secret":
                return await self._secret(mount, stack)
            case "ssh":
                return await self._agent(mount, stack)
            case "cache":
                return [await self._cache(mount, stack)], []
        return [self._bind(mount)], []

    def _bind(self, mount: RunMount) -> Mount:
        """Another stage's files: read-only, or with a layer on top that is thrown away."""
        if self._shown is None:
            raise BuildFailed(f"mount {mount.target} shows nothing")
        directories = self._solving.directories_of(self._shown)
        if not os.path.isdir(directories[0]):
            self._stubs.file(mount.target)
            return Mount(mount.target, "bind", directories[0], ["bind", "ro", "rprivate"])
        self._stubs.directory(mount.target)
        if mount.read_only and len(directories) == 1:
            return Mount(mount.target, "bind", directories[0], ["bind", "ro", "rprivate"])
        lower = f"lowerdir={':'.join(directories)}"
        if mount.read_only:
            return Mount(mount.target, "overlay", "overlay", ["ro", lower])
        upper, work = f"{self._place}/upper", f"{self._place}/work"
        for path in (upper, work):
            os.makedirs(path, mode=0o755)
        status = os.stat(directories[0])
        os.chown(upper, status.st_uid, status.st_gid)
        os.chmod(upper, status.st_mode & 0o7777)
        return Mount(mount.target, "overlay", "overlay", [lower, f"upperdir={upper}", f"workdir={work}"])

    async def _cache(self, mount: RunMount, stack: contextlib.AsyncExitStack) -> Mount:
        seed = self._solving.directories_of(self._shown) if self._shown else []

        def fill(directory: str) -> None:
            trees.copy_contents(seed, directory)
            if mount.uid is not None or mount.gid is not None:
                os.chown(directory, mount.uid or 0, mount.gid or 0)
            if mount.mode is not None:
                os.chmod(directory, mount.mode)

        # What the directory began with belongs to what it is: another beginning is another directory (BuildKit's ref id).
        identifier = (
            mount.identifier if not self._shown else f"{mount.identifier}@{self._shown.layers}{self._shown.path}"
        )
        tree = await stack.enter_async_context(self._solving.builder.cache_mounts.use(identifier, mount.sharing, fill))
        self._stubs.directory(mount.target)
        return Mount(mount.target, "bind", tree, ["bind", "rprivate", *(["ro"] if mount.read_only else [])])

    async def _secret(self, mount: RunMount, stack: contextlib.AsyncExitStack) -> tuple[list[Mount], list[str]]:
        """On a tmpfs of the machine, for as long as the step runs."""
        data = await self._solving.request.secrets.secret(mount.identifier)
        if data is None:
            if mount.required:
                raise BuildFailed(f"secret {mount.identifier}: not found")
            return [], []
        if len(data) > _SECRET_LIMIT:
            raise BuildFailed(f"secret {mount.identifier} has {len(data)} bytes (at most {_SECRET_LIMIT})")
        words = [f"{mount.env}={data.decode('utf-8', 'surrogateescape')}"] if mount.env else []
        if not mount.target:
            return [], words
        directory = stack.enter_context(self._solving.builder.private.directory())
        path = os.path.join(directory, "secret")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
            os.fchown(fd, mount.uid or 0, mount.gid or 0)
            os.fchmod(fd, 0o400 if mount.mode is None else mount.mode)
        finally:
            os.close(fd)
        self._stubs.file(mount.target)
        return [Mount(mount.target, "bind", path, ["bind", "ro", "rprivate", "nosuid", "nodev", "noexec"])], words

    async def _agent(self, mount: RunMount, stack: contextlib.AsyncExitStack) -> tuple[list[Mount], list[str]]:
        """A socket whose connections the client's agent answers."""
        agents = self._solving.request.agents
        if not await agents.has(mount.identifier):
            if mount.required:
                raise BuildFailed(f"unset ssh forward key {mount.identifier}")
            return [], []
        directory = stack.enter_context(self._solving.builder.private.directory())
        path = os.path.join(directory, "agent")
        server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        server.setblocking(False)
        server.bind(path)
        os.chown(path, mount.uid or 0, mount.gid or 0)
        os.chmod(path, 0o600 if mount.mode is None else mount.mode)
        server.listen(16)
        await stack.enter_async_context(serve_agent(server, mount.identifier, agents.connect))
        self._stubs.file(mount.target)
        return [Mount(mount.target, "bind", path, ["bind", "rprivate"])], [f"SSH_AUTH_SOCK={mount.target}"]


@contextlib.asynccontextmanager
async def serve_agent(
    server: socket.socket, identifier: str, connect: Callable[[str, socket.socket], Awaitable[None]]
) -> AsyncIterator[None]:
    """While the block lasts, connections to `server` are carried to the client's agent."""
    task = asyncio.create_task(_serve(server, identifier, connect), name="ssh agent of a step")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _serve(
    server: socket.socket, identifier: str, connect: Callable[[str, socket.socket], Awaitable[None]]
) -> None:
    """Until cancelled. A connection that fails is the agent's affair: the program in the step sees it closed."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        while True:
            connection, _ = await loop.sock_accept(server)
            connection.setblocking(False)
            group.create_task(_carried(connect, identifier, connection), name="connection to an ssh agent")


async def _carried(
    connect: Callable[[str, socket.socket], Awaitable[None]], identifier: str, connection: socket.socket
) -> None:
    with connection, contextlib.suppress(OSError, BuildFailed):
        await connect(identifier, connection)
