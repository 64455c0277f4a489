"""`onggi-runtime exec`: a process beside the first one of a running container."""

from __future__ import annotations

import msgspec

from onggi.errors import Conflict, InvalidArgument, RuntimeStepError
from onggi.kernel import cgroups
from onggi.kernel.capabilities import CAPS
from onggi.oci.runtime import Capabilities, Process, Spec, User
from onggi.runtime import cgroupspaths, consoles, init, validation, wholefiles
from onggi.runtime.bundles import Bundles, ContainerState
from onggi.runtime.flags import Given, UsageError
from onggi.runtime.making import filter_of, preserved, write_pid
from onggi.runtime.reports import status_of


def exec_process(options: Given, given: Given) -> int:
    """Start it; unless detached, wait for it and return its exit code."""
    bundles = Bundles(options.text("root"))
    state = bundles.load(given.rest[0])
    status = status_of(bundles, state)
    if status == "stopped":
        raise Conflict("exec failed: cannot exec in a stopped container")
    if status == "paused" and "ignore-paused" not in given.switches:
        raise Conflict("exec failed: cannot exec in a paused container (use --ignore-paused to override)")
    spec = bundles.spec(state)
    process_spec = _process(spec, given)
    detached = "detach" in given.switches
    consoles.check(tty=process_spec.terminal, detached=detached, socket_path=given.text("console-socket"))
    filter = filter_of(spec)
    plan = init.ExecPlan(
        pid=state.pid,
        pid_start=state.pid_start,
        process=process_spec,
        cgroup=_cgroup(state, given.lists.get("cgroup", [])),
        tty=process_spec.terminal,
        seccomp=filter.program if filter is not None else b"",
        seccomp_flags=filter.flags if filter is not None else 0,
        listener=filter.listener if filter is not None else None,
        state=state.told("running"),
        preserve_fds=preserved(given),
        linux=spec.linux,
    )
    try:
        spawned = init.exec_in(plan, stdio=None if plan.tty else (0, 1, 2), supervised=False)
    except RuntimeStepError as error:
        raise InvalidArgument(f"exec failed: unable to start container process: {error}") from None
    console = consoles.hand_over(spawned, given.text("console-socket"))
    consoles.send_pidfd(spawned, given.text("pidfd-socket"))
    write_pid(given.text("pid-file"), spawned.pid)
    return 0 if detached else consoles.follow(spawned.pid, console)


def _process(spec: Spec, given: Given) -> Process:
    """The process of config.json with what the command line changes, or the one of --process."""
    if given.text("process"):
        try:
            base = msgspec.json.decode(wholefiles.read(given.text("process")), type=Process)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"{given.text('process')}: {error}") from None
    else:
        base = _from_words(spec.process or Process(), given)
    validation.check_process(base)
    base, _ = validation.known_capabilities(base)
    return msgspec.structs.replace(
        base,
        apparmor_profile=given.text("apparmor") or base.apparmor_profile,
        selinux_label=given.text("process-label") or base.selinux_label,
    )


def _from_words(base: Process, given: Given) -> Process:
    arguments = given.rest[1:]
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not arguments:
        raise UsageError("exec args cannot be empty")
    return msgspec.structs.replace(
        base,
        args=arguments,
        cwd=given.text("cwd") or base.cwd,
        env=_environment([*base.env, *given.lists.get("env", [])]),
        terminal="tty" in given.switches,
        user=_user(base.user, given),
        capabilities=_capabilities(base.capabilities, given.lists.get("cap", [])),
        no_new_privileges=base.no_new_privileges or "no-new-privs" in given.switches,
    )


def _environment(pairs: list[str]) -> list[str]:
    """Each name once, with its last value, at its first place: getenv(3) would find the first one."""
    return list({pair.partition("=")[0]: pair for pair in pairs}.values())


def _user(user: User, given: Given) -> User:
    if given.text("user"):
        uid, _, gid = given.text("user").partition(":")
        if not uid.isdecimal() or (gid and not gid.isdecimal()):
            raise UsageError(f"converting {given.text('user')!r} to uid[:gid] failed")
        user = msgspec.structs.replace(user, uid=int(uid), gid=int(gid) if gid else user.gid)
    if "additional-gids" in given.lists:
        gids = [word for text in given.lists["additional-gids"] for word in text.split(",")]
        if not all(gid.isdecimal() for gid in gids):
            raise UsageError(f"invalid additional gids: {' '.join(gids)}")
        user = msgspec.structs.replace(user, additional_gids=[int(gid) for gid in gids])
    return user


def _capabilities(sets: Capabilities | None, added: list[str]) -> Capabilities | None:
    """One that is asked for by name here and now is refused when there is none of that name; a spec's is warned of."""
    for name in added:
        if name.upper() not in CAPS:
            raise UsageError(f"unknown capability {name!r}")
    if not added:
        return sets
    sets = sets or Capabilities()
    return msgspec.structs.replace(
        sets,
        bounding=[*sets.bounding, *added],
        effective=[*sets.effective, *added],
        permitted=[*sets.permitted, *added],
    )


def _cgroup(state: ContainerState, wanted: list[str]) -> cgroups.Cgroup:
    """The container's group, or those below it that --cgroup names. Raises InvalidArgument, OSError."""
    if not wanted and state.cgroup_path != cgroupspaths.DISABLED:
        return cgroups.open_beside(state.cgroup_path, state.pid)
    group = cgroupspaths.find(state.cgroup_path)
    for text in wanted:
        controllers, colon, path = text.rpartition(":")
        if ".." in path.split("/"):
            raise InvalidArgument(f"invalid cgroup path {path!r}: `..` components are not allowed")
        group = group.below(path.strip("/"), controllers.split(",") if colon else [])
    return group
