"""The commands of `onggi-runtime` that change something: create, start, run, exec, kill, delete, pause, resume, update."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from onggi.errors import Conflict, InvalidArgument, NotFound, OnggiError, RuntimeStepError
from onggi.kernel import cgroups, process
from onggi.kernel.cgroups.resources import Resources
from onggi.oci.runtime import Capabilities, Hook, Hooks, Process, Spec, State
from onggi.runtime import consoles, hooks, init
from onggi.runtime.bundles import FIFO, Bundles, ContainerState, boot_id, is_alive
from onggi.runtime.devicerules import with_default_rules
from onggi.runtime.flags import Given, UsageError
from onggi.runtime.plan import InitPlan, RootfsPlan
from onggi.runtime.processes import start_time
from onggi.runtime.reports import status_of

PROGRAM: Final = "onggi-runtime"
_KILL_TIMEOUT_S: Final = 10.0


class ExecFailed(OnggiError):
    """`exec` could not start its process: exit code 255, which no process of the container gave."""


def _create(options: Given, given: Given) -> int:
    _make(options, given, held=True, detached=True)
    return 0


def _run(options: Given, given: Given) -> int:
    detached = "detach" in given.switches
    bundles, state, console = _make(options, given, held=False, detached=detached)
    if detached:
        return 0
    code = consoles.follow(state.pid, console)
    if "keep" not in given.switches:
        _remove(bundles, state)
    return code


def _make(
    options: Given, given: Given, *, held: bool, detached: bool
) -> tuple[Bundles, ContainerState, consoles.Console | None]:
    """Make a container from its bundle, running, or `held` right before its program."""
    what = f"{PROGRAM} {'create' if held else 'run'}"
    try:
        os.chdir(given.text("bundle") or ".")
    except OSError as error:
        raise NotFound(f"{what} failed: chdir {given.text('bundle')}: {_go_text(error)}") from None
    bundle = os.getcwd()
    spec = with_default_rules(_load_spec(what))
    plan = _plan(spec, given)
    tty = plan.spec.process is not None and plan.spec.process.terminal
    consoles.check(tty=tty, detached=detached, socket_path=given.text("console-socket"))
    bundles = Bundles(Path(options.text("root")))
    container_id = given.rest[0]
    try:
        directory = bundles.claim(container_id)
    except OnggiError as error:
        raise type(error)(f"{what} failed: {error}") from None
    cgroup_path = (spec.linux and spec.linux.cgroups_path) or f"/{container_id}"
    with contextlib.ExitStack() as undo:
        undo.callback(bundles.remove, container_id)
        fifo = None
        if held:
            os.mkfifo(directory / FIFO, 0o600)
            # Open both ways: neither side ever waits for the other to open it.
            fifo = os.open(directory / FIFO, os.O_RDWR | os.O_CLOEXEC)
        cgroup = cgroups.create(cgroup_path, spec.linux_resources)
        undo.callback(cgroup.remove)
        undo.callback(cgroup.kill_all)

        def beside(pid: int) -> None:
            if cgroup.clone_fd() is None:
                cgroup.add(pid)
            if spec.hooks is not None:
                told = State(spec.oci_version, container_id, "creating", pid, bundle, spec.annotations)
                hooks.run([*spec.hooks.prestart, *spec.hooks.create_runtime], told)

        try:
            spawned = init.spawn(
                plan, stdio=(0, 1, 2), tty=tty, cgroup=cgroup, exec_fifo=fifo, supervised=False, beside=beside
            )
        except RuntimeStepError as error:
            raise InvalidArgument(
                f"{what} failed: unable to start container process: error during container init: {error}"
            ) from None
        state = ContainerState(
            id=container_id,
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
        )
        bundles.save(state)
        console = consoles.hand_over(spawned, given.text("console-socket"))
        consoles.send_pidfd(spawned, given.text("pidfd-socket"))
        _write_pid(given, spawned.pid)
        if not held and spec.hooks is not None:
            _hooks(spec.hooks.poststart, state, "running")
        undo.pop_all()
    return bundles, state, console


def _load_spec(what: str) -> Spec:
    try:
        content = Path("config.json").read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{what} failed: JSON specification file config.json not found") from None
    try:
        spec = msgspec.json.decode(content, type=Spec)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"{what} failed: config.json: {error}") from None
    if spec.root is None or not spec.root.path:
        raise InvalidArgument(f"{what} failed: root must be specified")
    if spec.process is None or not spec.process.args:
        raise InvalidArgument(f"{what} failed: args must not be empty")
    if spec.process.cwd == "":
        raise InvalidArgument(f"{what} failed: Cwd property must not be empty")
    if not spec.process.cwd.startswith("/"):
        raise InvalidArgument(f"{what} failed: Cwd must be an absolute path")
    return spec


def _plan(spec: Spec, given: Given) -> InitPlan:
    rootfs = os.path.realpath(spec.root.path if spec.root is not None else "")
    return InitPlan(
        spec=spec,
        rootfs=RootfsPlan(path=rootfs),
        seccomp=_filter(spec),
        preserve_fds=_preserved(given),
        container_id=given.rest[0],
        bundle=os.getcwd(),
        keyring="" if "no-new-keyring" in given.switches else "_ses." + given.rest[0],
    )


def _filter(spec: Spec) -> bytes:
    if spec.linux is None or spec.linux.seccomp is None:
        return b""
    # libseccomp takes as long as the rest of a start: only for those who have a profile.
    from onggi.kernel.seccomp import compile_profile
    from onggi.runtime.seccomp_default import SpecProfile, profile_from_spec

    profile = msgspec.convert(msgspec.to_builtins(spec.linux.seccomp), SpecProfile)
    return compile_profile(profile_from_spec(profile))


def _preserved(given: Given) -> int:
    count = given.number("preserve-fds")
    # Socket activation (sd_listen_fds(3)): those come first, from 3 on.
    return count + int(os.environ.get("LISTEN_FDS") or 0)


def _start(options: Given, given: Given) -> int:
    bundles = Bundles(Path(options.text("root")))
    state = bundles.load(given.rest[0])
    status = status_of(bundles, state)
    if status == "stopped":
        raise Conflict("cannot start a container that has stopped")
    if status != "created":
        raise Conflict("cannot start an already running container")
    path = bundles.directory(state.id) / FIFO
    fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # Removed first: of two starts one finds nothing.
        path.unlink()
        os.write(fifo, b"0")
    finally:
        os.close(fifo)
    _hooks(_state_hooks(state).poststart, state, "running")
    return 0


def _exec(options: Given, given: Given) -> int:
    bundles = Bundles(Path(options.text("root")))
    state = bundles.load(given.rest[0])
    status = status_of(bundles, state)
    if status == "stopped":
        raise ExecFailed("exec failed: cannot exec in a stopped container")
    if status == "paused" and "ignore-paused" not in given.switches:
        raise ExecFailed("exec failed: cannot exec in a paused container (use --ignore-paused to override)")
    spec = msgspec.json.decode((Path(state.bundle) / "config.json").read_bytes(), type=Spec)
    process_spec = _exec_process(spec, given)
    detached = "detach" in given.switches
    consoles.check(tty=process_spec.terminal, detached=detached, socket_path=given.text("console-socket"))
    plan = init.ExecPlan(
        pid=state.pid,
        pid_start=state.pid_start,
        process=process_spec,
        cgroup=cgroups.open(state.cgroup_path),
        tty=process_spec.terminal,
        seccomp=_filter(spec),
        preserve_fds=_preserved(given),
    )
    try:
        spawned = init.exec_in(plan, stdio=None if plan.tty else (0, 1, 2), supervised=False)
    except RuntimeStepError as error:
        raise ExecFailed(f"exec failed: unable to start container process: {error}") from None
    console = consoles.hand_over(spawned, given.text("console-socket"))
    consoles.send_pidfd(spawned, given.text("pidfd-socket"))
    _write_pid(given, spawned.pid)
    return 0 if detached else consoles.follow(spawned.pid, console)


def _exec_process(spec: Spec, given: Given) -> Process:
    """The process of config.json with what the command line changes, or the one of --process."""
    if given.text("process"):
        return msgspec.json.decode(Path(given.text("process")).read_bytes(), type=Process)
    arguments = given.rest[1:]
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not arguments:
        raise UsageError("exec args cannot be empty")
    base = spec.process or Process()
    user = base.user
    if given.text("user"):
        uid, _, gid = given.text("user").partition(":")
        if not uid.isdecimal() or (gid and not gid.isdecimal()):
            raise UsageError(f"converting {given.text('user')!r} to uid[:gid] failed")
        user = msgspec.structs.replace(user, uid=int(uid), gid=int(gid) if gid else user.gid)
    if "additional-gids" in given.lists:
        user = msgspec.structs.replace(user, additional_gids=[int(gid) for gid in given.lists["additional-gids"]])
    capabilities = base.capabilities
    if "cap" in given.lists:
        sets = capabilities or Capabilities()
        added = given.lists["cap"]
        capabilities = msgspec.structs.replace(
            sets,
            bounding=[*sets.bounding, *added],
            effective=[*sets.effective, *added],
            permitted=[*sets.permitted, *added],
        )
    return msgspec.structs.replace(
        base,
        args=arguments,
        cwd=given.text("cwd") or base.cwd,
        env=[*base.env, *given.lists.get("env", [])],
        terminal="tty" in given.switches,
        user=user,
        capabilities=capabilities,
        no_new_privileges=base.no_new_privileges or "no-new-privs" in given.switches,
    )


def _kill(options: Given, given: Given) -> int:
    bundles = Bundles(Path(options.text("root")))
    state = bundles.load(given.rest[0])
    number = signal_number(given.rest[1] if len(given.rest) > 1 else "SIGTERM")
    if "all" in given.switches:
        for pid in cgroups.open(state.cgroup_path).pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return 0
    if not is_alive(state):
        raise Conflict("container not running")
    with process.pidfd_open(state.pid) as pidfd:
        # Asked again with the pidfd in hand: from here on the number can't become another process (S-18).
        if not is_alive(state):
            raise Conflict("container not running")
        process.pidfd_send_signal(pidfd, number)
    return 0


def signal_number(text: str) -> int:
    """A signal by number or name, with or without SIG. Raises InvalidArgument."""
    if text.isdecimal():
        return int(text)
    name = text.upper()
    try:
        return signal.Signals["SIG" + name.removeprefix("SIG")].value
    except KeyError:
        raise InvalidArgument(f'unknown signal "{text}"') from None


def _delete(options: Given, given: Given) -> int:
    bundles = Bundles(Path(options.text("root")))
    force = "force" in given.switches
    try:
        state = bundles.load(given.rest[0])
    except NotFound:
        if force:
            bundles.remove(given.rest[0])
            return 0
        raise
    status = status_of(bundles, state)
    if status in {"running", "paused"} and not force:
        raise Conflict(f"cannot delete container {state.id} that is not stopped: {status}")
    _remove(bundles, state)
    return 0


def _remove(bundles: Bundles, state: ContainerState) -> None:
    """End what is left of a container, and forget it."""
    cgroup = cgroups.open(state.cgroup_path)
    cgroup.kill_all()
    _wait_dead(state)
    cgroup.remove()
    _hooks(_state_hooks(state).poststop, state, "stopped")
    bundles.remove(state.id)


def _wait_dead(state: ContainerState) -> None:
    try:
        pidfd = process.pidfd_open(state.pid)
    except ProcessLookupError:
        return
    with pidfd:
        if not is_alive(state):
            return
        process.pidfd_send_signal(pidfd, signal.SIGKILL)
        if not consoles.wait_readable(pidfd.fileno(), _KILL_TIMEOUT_S):
            raise Conflict(f"container {state.id} could not be killed: its process {state.pid} does not end")


def _pause(options: Given, given: Given) -> int:
    bundles = Bundles(Path(options.text("root")))
    state = bundles.load(given.rest[0])
    status = status_of(bundles, state)
    if status not in {"running", "created"}:
        raise Conflict(f"container not running or created: {status}")
    cgroups.open(state.cgroup_path).freeze()
    return 0


def _resume(options: Given, given: Given) -> int:
    bundles = Bundles(Path(options.text("root")))
    state = bundles.load(given.rest[0])
    if status_of(bundles, state) != "paused":
        raise Conflict("container not paused")
    cgroups.open(state.cgroup_path).thaw()
    return 0


def _update(options: Given, given: Given) -> int:
    bundles = Bundles(Path(options.text("root")))
    state = bundles.load(given.rest[0])
    if not is_alive(state):
        raise Conflict("container not running")
    cgroups.open(state.cgroup_path).apply(_resources(given))
    return 0


def _resources(given: Given) -> Resources:
    path = given.text("resources")
    if path:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return msgspec.json.decode(content, type=Resources)
    names = {
        "memory": ("memory", "limit"),
        "memory-swap": ("memory", "swap"),
        "memory-reservation": ("memory", "reservation"),
        "cpu-period": ("cpu", "period"),
        "cpu-quota": ("cpu", "quota"),
        "cpu-shares": ("cpu", "shares"),
        "pids-limit": ("pids", "limit"),
    }
    parts: dict[str, dict[str, int | str]] = {}
    for flag, (part, field) in names.items():
        if given.text(flag):
            parts.setdefault(part, {})[field] = given.number(flag)
    for flag in ("cpus", "mems"):
        if given.text(f"cpuset-{flag}"):
            parts.setdefault("cpu", {})[flag] = given.text(f"cpuset-{flag}")
    return msgspec.convert(parts, Resources)


def _write_pid(given: Given, pid: int) -> None:
    path = given.text("pid-file")
    if path:
        temporary = Path(path).with_name(f".{Path(path).name}")
        temporary.write_text(str(pid), encoding="ascii")
        temporary.rename(path)


def _state_hooks(state: ContainerState) -> Hooks:
    return msgspec.json.decode(state.hooks, type=Hooks)


def _hooks(which: list[Hook], state: ContainerState, status: str) -> None:
    told = State(state.oci_version, state.id, status, state.pid, state.bundle, state.annotations)
    hooks.run(which, told)


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def _go_text(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


COMMANDS: Final[dict[str, Callable[[Given, Given], int]]] = {
    "create": _create,
    "start": _start,
    "run": _run,
    "exec": _exec,
    "kill": _kill,
    "delete": _delete,
    "pause": _pause,
    "resume": _resume,
    "update": _update,
}
