"""`onggi-runtime create` and `run`: from a bundle to a container, running or held right before its program."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

import msgspec

from onggi.errors import InvalidArgument, NotFound, OnggiError, RuntimeStepError
from onggi.kernel import cgroups
from onggi.oci.runtime import Hooks, Spec, State
from onggi.runtime import cgroupspaths, consoles, hooks, init, validation, wholefiles
from onggi.runtime.bundles import CONFIG, FIFO, Bundles, ContainerState, boot_id
from onggi.runtime.devicerules import with_default_rules
from onggi.runtime.ending import forget
from onggi.runtime.flags import Given
from onggi.runtime.plan import InitPlan, RootfsPlan
from onggi.runtime.processes import start_time
from onggi.runtime.runtimelog import Log

if TYPE_CHECKING:
    from onggi.runtime import resctrl
    from onggi.runtime.filters import Filter

PROGRAM: Final = "onggi-runtime"


def create(options: Given, given: Given) -> int:
    """The container waits for `start`."""
    _Making(options, given, "create", detached=True).make()
    return 0


def run(options: Given, given: Given) -> int:
    """Create and start at once; unless detached, the process is waited for and its exit code returned."""
    detached = "detach" in given.switches
    making = _Making(options, given, "run", detached=detached)
    state, console = making.make()
    if detached:
        return 0
    code = consoles.follow(state.pid, console)
    if "keep" not in given.switches:
        forget(making.bundles, state, Log.of(options))
    return code


class _Making:
    """One container on its way: what the command line says of it, and the steps."""

    def __init__(self, options: Given, given: Given, command: str, *, detached: bool) -> None:
        self.given, self.command, self.detached = given, command, detached
        self.what = f"{PROGRAM} {command}"
        self.held = command == "create"
        self.container_id = given.rest[0]
        self.bundles = Bundles(options.text("root"))
        self.log = Log.of(options)
        self.manager = "systemd" if "systemd-cgroup" in options.switches else options.text("cgroup-manager")
        # As runc has it: before the bundle becomes the working directory.
        self.pid_file = os.path.abspath(given.text("pid-file")) if given.text("pid-file") else ""

    def make(self) -> tuple[ContainerState, consoles.Console | None]:
        """Raises OnggiError, OSError; nothing is left then."""
        bundle = self._enter_bundle()
        config = self._read_config()
        spec = _activated(with_default_rules(self._parse(config)))
        plan = self._plan(spec)
        tty = plan.spec.process is not None and plan.spec.process.terminal
        consoles.check(tty=tty, detached=self.detached, socket_path=self.given.text("console-socket"))
        wanted = spec.linux.cgroups_path if spec.linux else ""
        cgroup_path = cgroupspaths.path_of(wanted, self.container_id, manager=self.manager)
        directory = self._claim()
        with contextlib.ExitStack() as undo:
            undo.callback(self.bundles.remove, self.container_id)
            wholefiles.write(f"{directory}/{CONFIG}", config)
            fifo = self._fifo(directory) if self.held else None
            cgroup = cgroupspaths.make(cgroup_path, spec.linux_resources)
            undo.callback(cgroup.remove)
            undo.callback(cgroup.kill_all)
            group = _resctrl_group(spec, self.container_id, undo)
            spawned = self._spawn(plan, cgroup, fifo, group, tty=tty)
            state = ContainerState(
                id=self.container_id,
                pid=spawned.pid,
                pid_start=start_time(spawned.pid),
                bundle=bundle,
                rootfs=plan.rootfs.path,
                created=_now(),
                cgroup_path=cgroup_path,
                boot=boot_id(),
                oci_version=spec.oci_version,
                annotations=spec.annotations,
                hooks=msgspec.Raw(msgspec.json.encode(spec.hooks or Hooks())),
                shares_pids=not _has_own_pids(spec),
                resctrl=group.path if group is not None else "",
                resctrl_made=group.made if group is not None else [],
            )
            self.bundles.save(state)
            console = consoles.hand_over(spawned, self.given.text("console-socket"))
            consoles.send_pidfd(spawned, self.given.text("pidfd-socket"))
            write_pid(self.pid_file, spawned.pid)
            if not self.held and spec.hooks is not None:
                hooks.run(spec.hooks.poststart, state.told("running"))
            undo.pop_all()
        return state, console

    def _enter_bundle(self) -> str:
        given = self.given.text("bundle")
        try:
            os.chdir(given or ".")
        except OSError as error:
            raise NotFound(f"{self.what} failed: chdir {given}: {(error.strerror or '').lower()}") from None
        return os.getcwd()

    def _read_config(self) -> bytes:
        name = self.given.text("config")
        try:
            return wholefiles.read(name)
        except FileNotFoundError:
            raise NotFound(f"{self.what} failed: JSON specification file {name} not found") from None

    def _parse(self, config: bytes) -> Spec:
        try:
            spec = msgspec.json.decode(config, type=Spec)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"{self.what} failed: {self.given.text('config')}: {error}") from None
        try:
            validation.check(spec)
        except InvalidArgument as error:
            raise InvalidArgument(f"{self.what} failed: {error}") from None
        if spec.process is not None:
            spec.process, unknown = validation.known_capabilities(spec.process)
            for name in unknown:
                self.log.warning(f"ignoring unknown capability {name!r}")
        if spec.mounts and not _has_mounts(spec):
            self.log.warning("without a mount namespace the spec's mounts are not made: they would be the host's")
        return spec

    def _plan(self, spec: Spec) -> InitPlan:
        try:
            filter = filter_of(spec)
        except InvalidArgument as error:
            raise InvalidArgument(f"{self.what} failed: {error}") from None
        return InitPlan(
            spec=spec,
            rootfs=RootfsPlan(
                path=os.path.realpath(spec.root.path if spec.root is not None else ""),
                no_pivot="no-pivot" in self.given.switches,
            ),
            seccomp=filter.program if filter is not None else b"",
            seccomp_flags=filter.flags if filter is not None else 0,
            listener=filter.listener if filter is not None else None,
            preserve_fds=preserved(self.given),
            container_id=self.container_id,
            bundle=os.getcwd(),
            keyring="" if "no-new-keyring" in self.given.switches else "_ses." + self.container_id,
        )

    def _claim(self) -> str:
        try:
            return self.bundles.claim(self.container_id)
        except OnggiError as error:
            raise type(error)(f"{self.what} failed: {error}") from None

    @staticmethod
    def _fifo(directory: str) -> int:
        os.mkfifo(f"{directory}/{FIFO}", 0o600)
        # Open both ways: neither side ever waits for the other to open it.
        return os.open(f"{directory}/{FIFO}", os.O_RDWR | os.O_CLOEXEC)

    def _spawn(
        self, plan: InitPlan, cgroup: cgroups.Cgroup, fifo: int | None, group: resctrl.Group | None, *, tty: bool
    ) -> init.Spawned:
        def beside(pid: int) -> None:
            spec = plan.spec
            if group is not None:
                group.add(pid)
            if spec.hooks is not None:
                # Prestart hooks are the spec 1.0's, and were run when the state was this (crun says so to this day).
                told = State(spec.oci_version, self.container_id, "created", pid, plan.bundle, spec.annotations)
                hooks.run(spec.hooks.prestart, told)
                hooks.run(spec.hooks.create_runtime, msgspec.structs.replace(told, status="creating"))

        try:
            return init.spawn(
                plan, stdio=(0, 1, 2), tty=tty, cgroup=cgroup, exec_fifo=fifo, supervised=False, beside=beside
            )
        except RuntimeStepError as error:
            raise InvalidArgument(
                f"{self.what} failed: unable to start container process: error during container init: {error}"
            ) from None


def _has_mounts(spec: Spec) -> bool:
    return spec.linux is not None and any(entry.type == "mount" for entry in spec.linux.namespaces)


def _has_own_pids(spec: Spec) -> bool:
    return spec.linux is not None and any(entry.type == "pid" and not entry.path for entry in spec.linux.namespaces)


def filter_of(spec: Spec) -> Filter | None:
    """What the spec has of seccomp."""
    if spec.linux is None or spec.linux.seccomp is None:
        return None
    from onggi.runtime.filters import check_names, from_spec  # and libseccomp with it

    # crun's annotation. Without it names of other kernels' calls are left out, as the spec has it.
    if spec.annotations.get("run.oci.seccomp_fail_unknown_syscall", "0") != "0":
        check_names(spec.linux.seccomp)
    return from_spec(spec.linux.seccomp)


def _resctrl_group(spec: Spec, container_id: str, undo: contextlib.ExitStack) -> resctrl.Group | None:
    """Where its processes share the processor's caches, if the spec says so."""
    if spec.linux is None or spec.linux.intel_rdt is None:
        return None
    from onggi.runtime import resctrl

    group = resctrl.Group(spec.linux.intel_rdt, container_id, resctrl.mounted())
    undo.callback(resctrl.remove, group.made)
    return group


def preserved(given: Given) -> int:
    """How many descriptors from 3 on the process keeps, as far as they are open."""
    # Socket activation (sd_listen_fds(3)): those come first, from 3 on.
    return given.number("preserve-fds") + int(os.environ.get("LISTEN_FDS") or 0)


def _activated(spec: Spec) -> Spec:
    """Sockets that were passed to us are the container's: its first process is told, as sd_listen_fds(3) asks for."""
    if spec.process is None or "LISTEN_FDS" not in os.environ:
        return spec
    told = [f"{name}={os.environ[name]}" for name in ("LISTEN_FDS", "LISTEN_FDNAMES") if name in os.environ]
    if _has_own_pids(spec):
        told.append("LISTEN_PID=1")
    process = msgspec.structs.replace(spec.process, env=[*spec.process.env, *told])
    return msgspec.structs.replace(spec, process=process)


def write_pid(path: str, pid: int) -> None:
    """The pid file, if one is asked for: it appears whole."""
    if path:
        wholefiles.replace(path, str(pid).encode())


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"
