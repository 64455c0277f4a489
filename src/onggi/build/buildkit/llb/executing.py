"""ExecOp: a process over a tree, with mounts of others, each of which may become a tree of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from onggi.build.buildkit.pb import ops_pb2
from onggi.build.buildkit.rpc import Code, RpcError
from onggi.build.errors import BuildFailed
from onggi.build.runmounts import RunDevice, RunMount
from onggi.build.runner import RunStep, StepLimits
from onggi.build.running import Mounting, Shown, Stubs

if TYPE_CHECKING:
    from onggi.build.buildkit.llb.carrying import Carrying, Layers
    from onggi.build.buildkit.llb.reading import Node
    from onggi.build.buildkit.tracing import Step
    from onggi.build.flights import Listener
    from onggi.oci.runtime import Mount
    from onggi.store.layers import LayerInfo
    from onggi.store.snapshots import Snapshot

_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NETWORKS: Final = {ops_pb2.UNSET: "default", ops_pb2.HOST: "host", ops_pb2.NONE: "none"}
_SHARING: Final = {ops_pb2.SHARED: "shared", ops_pb2.PRIVATE: "private", ops_pb2.LOCKED: "locked"}


@dataclass(frozen=True, slots=True)
class _Place:
    """A mount that isn't the root, with the tree that it shows."""

    mount: ops_pb2.Mount
    shown: Layers
    directory: str
    """Its own, beside the step's: `upper` below it is what was written."""


class Executing:
    """One exec of one build."""

    def __init__(self, carrying: Carrying, node: Node, step: Step, inputs: Sequence[Layers]) -> None:
        self._carrying, self._node, self._step, self._inputs = carrying, node, step, inputs
        self._exec, self._solving = node.op.exec, carrying.solving
        root = [each for each in self._exec.mounts if each.dest == "/" and each.mountType == ops_pb2.BIND]
        if len(root) != 1:
            raise RpcError(Code.INVALID_ARGUMENT, "invalid exec operation: it must have one mount at /")
        self._root = root[0]
        self._layers = carrying.chosen(inputs, self._root.input)

    async def outputs(self) -> list[Layers]:
        """The trees of the mounts that have an output, by its number. Raises BuildFailed, RpcError."""
        self._check()
        written = sorted((each for each in self._exec.mounts if each.output >= 0), key=lambda each: each.output)
        if [each.output for each in written] != list(range(len(written))):
            raise RpcError(Code.INVALID_ARGUMENT, "invalid exec operation: its outputs are not numbered from 0")
        changing = [each for each in written if not each.readonly]
        own = bool(self._exec.secretenv) or any(
            each.mountType in (ops_pb2.SECRET, ops_pb2.SSH) for each in self._exec.mounts
        )

        async def make(listener: Listener) -> Sequence[LayerInfo]:
            return await self._run(listener, changing)

        key = self._carrying.key(self._node, self._inputs)
        # A process whose every output is thrown away is run for what it says: it has one layer that nobody reads.
        made = await self._carrying.layers(self._node, self._step, key, max(1, len(changing)), make, own=own)
        layers = dict(zip((each.output for each in changing), made, strict=False))
        return [
            (
                *self._carrying.chosen(self._inputs, each.input),
                *([layers[each.output]] if each.output in layers else []),
            )
            for each in written
        ]

    def _check(self) -> None:
        """What a client must have been allowed. Raises BuildFailed, RpcError."""
        granted = {each.partition("=")[0] for each in self._solving.options.entitlements}
        for name, is_asked in (
            ("network.host", self._exec.network == ops_pb2.HOST),
            ("security.insecure", self._exec.security == ops_pb2.INSECURE),
            ("device", bool(self._exec.cdiDevices)),
        ):
            if is_asked and name not in granted:
                raise BuildFailed(f"granting entitlement {name} is not allowed: the client must allow it")
        if not self._exec.meta.args:
            raise RpcError(Code.INVALID_ARGUMENT, "invalid exec operation: no arguments")
        for each in self._exec.mounts:
            if each is not self._root and os.path.normpath(f"/{each.dest}") in ("/", "//"):
                raise RpcError(Code.INVALID_ARGUMENT, "invalid exec operation: only its tree can be mounted at /")
            if each.output >= 0 and each is not self._root and each.selector.strip("/"):
                raise RpcError(Code.UNIMPLEMENTED, f"mount {each.dest}: an output of a part of a tree is not made here")

    async def _run(self, listener: Listener, written: Sequence[ops_pb2.Mount]) -> list[LayerInfo]:
        layering = self._solving.builder.layering
        async with contextlib.AsyncExitStack() as stack:
            snapshot = await stack.enter_async_context(layering.step(self._layers, run=True))
            stubs = Stubs(snapshot)
            mounts: list[Mount] = []
            words: list[str] = []
            places: dict[int, str] = {}
            for number, mount in enumerate(self._exec.mounts):
                if mount is self._root:
                    continue
                shown = self._carrying.chosen(self._inputs, mount.input)
                place = _Place(mount, shown, os.path.join(os.path.dirname(snapshot.upper), f"mount{number}"))
                made, variables = await self._mounted(place, snapshot, stubs, stack)
                mounts += made
                words += variables
                if mount.output >= 0 and not mount.readonly:
                    places[mount.output] = f"{place.directory}/upper"
            step = await self._process(snapshot, stubs, mounts, words, listener)
            root = await self._ended(step, snapshot)
            return [
                root
                if each is self._root
                else await layering.layers.capture(places[each.output], keep=False, root_entry=False)
                for each in written
            ] or [root]

    async def _ended(self, step: RunStep, snapshot: Snapshot) -> LayerInfo:
        """The root's layer. Raises BuildFailed for an exit status that isn't among the valid ones."""
        layering = self._solving.builder.layering
        valid = set(self._exec.meta.validExitCodes) or {0}
        try:
            made = await layering.run(step)
        except BuildFailed as error:
            if not error.code or error.code not in valid:
                raise
            return await layering.capture(snapshot)
        if 0 not in valid:
            raise BuildFailed(f'process "{" ".join(step.args)}" did not complete successfully: exit code: 0', 0)
        return made

    async def _process(
        self, snapshot: Snapshot, stubs: Stubs, mounts: Sequence[Mount], words: Sequence[str], listener: Listener
    ) -> RunStep:
        meta = self._exec.meta
        proxy = meta.proxy_env
        proxies = [
            f"{name}={value}"
            for low in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
            if (value := getattr(proxy, low))
            for name in (low, low.upper())
        ]
        path = () if any(each.startswith("PATH=") for each in meta.env) else (_PATH,)
        return RunStep(
            container_id=snapshot.container_id,
            snapshot=replace(snapshot, lower=[*snapshot.lower, *stubs.directories]),
            args=tuple(meta.args),
            env=(*path, *meta.env, *proxies, *words, *await self._secrets()),
            user=meta.user,
            cwd=meta.cwd or "/",
            output=listener,
            network=_NETWORKS.get(self._exec.network, "default"),
            extra_hosts=tuple(f"{each.Host}:{each.IP}" for each in meta.extraHosts),
            limits=self._limits(),
            mounts=tuple(mounts),
            hostname=meta.hostname or "buildkitsandbox",
            privileged=self._exec.security == ops_pb2.INSECURE,
            devices=tuple(RunDevice(each.name, required=not each.optional) for each in self._exec.cdiDevices),
        )

    def _limits(self) -> StepLimits:
        meta, asked = self._exec.meta, self._node.metadata.linux_resources
        return StepLimits(
            memory_bytes=asked.memory,
            memory_swap_bytes=asked.memorySwap,
            cpu_shares=asked.cpuShares,
            cpu_period=asked.cpuPeriod,
            cpu_quota=asked.cpuQuota,
            cpuset_cpus=asked.cpusetCpus,
            cpuset_mems=asked.cpusetMems,
            ulimits=tuple((each.Name, each.Soft, each.Hard) for each in meta.ulimit),
            cgroup_parent=meta.cgroupParent,
        )

    async def _secrets(self) -> list[str]:
        words = []
        for each in self._exec.secretenv:
            data = await self._solving.request.secrets.secret(each.ID)
            if data is None and not each.optional:
                raise BuildFailed(f"secret {each.ID}: not found")
            if data is not None:
                words.append(f"{each.name}={data.decode('utf-8', 'surrogateescape')}")
        return words

    async def _mounted(
        self, place: _Place, snapshot: Snapshot, stubs: Stubs, stack: contextlib.AsyncExitStack
    ) -> tuple[list[Mount], list[str]]:
        """The spec's mounts, and words for the environment."""
        mount = place.mount
        shown: Shown | None = None
        if mount.mountType == ops_pb2.BIND:
            shown = Shown(place.shown or await self._carrying.nothing(), mount.selector or "/")
        elif mount.mountType == ops_pb2.CACHE and place.shown:
            shown = Shown(place.shown, mount.selector or "/")
        maker = Mounting(self._solving, snapshot, stubs, shown, os.path.basename(place.directory))
        # A tree that is thrown away needs no room for changes, unless the client wants to write.
        return await maker.make(_asked(mount), stack)


def _asked(mount: ops_pb2.Mount) -> RunMount:
    """A mount in the words of a Dockerfile."""
    made = RunMount(target=os.path.normpath(f"/{mount.dest}"), read_only=mount.readonly)
    match mount.mountType:
        case ops_pb2.CACHE:
            identifier = mount.cacheOpt.ID or made.target
            return replace(made, kind="cache", identifier=identifier, sharing=_SHARING[mount.cacheOpt.sharing])
        case ops_pb2.TMPFS:
            return replace(made, kind="tmpfs", size=mount.TmpfsOpt.size)
        case ops_pb2.SECRET | ops_pb2.SSH:
            asked = mount.secretOpt if mount.mountType == ops_pb2.SECRET else mount.SSHOpt
            return replace(
                made,
                kind="secret" if mount.mountType == ops_pb2.SECRET else "ssh",
                identifier=asked.ID or ("" if mount.mountType == ops_pb2.SECRET else "default"),
                required=not asked.optional,
                uid=asked.uid,
                gid=asked.gid,
                mode=asked.mode or None,
            )
    return made
