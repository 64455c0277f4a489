"""Processes started in running containers: docker exec, and the health check's probes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onggi.engine import spec
from onggi.engine.config import ExecBody, ExecStartBody, words
from onggi.engine.container import Container, State
from onggi.engine.probeoutput import ProbeOutput
from onggi.engine.pump import Pump
from onggi.engine.rootview import open_process_root
from onggi.engine.streams import Attachment
from onggi.engine.terminalsize import terminal_size
from onggi.errors import Conflict, InvalidArgument, NotFound, RuntimeStepError
from onggi.oci.runtime import Box, Process
from onggi.runtime import defaults, users
from onggi.runtime.handles import ExecProcessHandle, Shim
from onggi.runtime.protocol import ExecProcess

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_DYING_S = 0.25
"""How long after an exec failed its container's end may show."""

KEPT_S = 300.0
"""How long an exec that has ended can be inspected: clients poll for its code."""


@dataclass(slots=True)
class Exec:
    """One exec. `exit_code` is None until it has ended."""

    id: str
    container: Container
    body: ExecBody
    args: list[str]
    running: bool = False
    started: bool = False
    exit_code: int | None = None
    pid: int = 0
    handle: ExecProcessHandle | None = None
    began: asyncio.Event = field(default_factory=asyncio.Event)
    size: tuple[int, int] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Execs:
    """All execs of an engine, in memory: they end with their containers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._execs: dict[str, Exec] = {}

    async def create(self, text: str, body: ExecBody) -> str:
        """Its id. Raises NotFound, InvalidArgument without a command, Conflict when the container can't take one now."""
        container = self._engine.containers.get(text)
        command = words(body.cmd)
        if not command:
            raise InvalidArgument("No exec command specified")
        self._check(container, text)
        size = terminal_size(body.console_size) if body.console_size else None
        if body.user:
            await asyncio.to_thread(_check_user, container, body.user)
        made = Exec(secrets.token_hex(32), container, body, command, size=size)
        self._execs[made.id] = made
        container.execs.add(made.id)
        self._engine.events.emit(
            "container", f"exec_create: {_shown(command)}", container.id, container.attributes | {"execID": made.id}
        )
        return made.id

    @staticmethod
    def _check(container: Container, text: str = "") -> None:
        if container.state == State.PAUSED:
            raise Conflict(f"Container {text or container.id} is paused, unpause the container before exec")
        if container.state == State.RESTARTING:
            raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
        if not container.is_alive:
            raise Conflict(f"container {container.id} is not running")

    def get(self, exec_id: str) -> Exec:
        """By id or by a beginning of it. Raises NotFound."""
        found = self._execs.get(exec_id)
        if found is None:
            starts = [one for identifier, one in self._execs.items() if exec_id and identifier.startswith(exec_id)]
            if len(starts) != 1:
                raise NotFound(f"No such exec instance: {exec_id}")
            found = starts[0]
        return found

    def forget(self, exec_id: str) -> None:
        self._execs.pop(exec_id, None)

    async def start(self, exec_id: str, body: ExecStartBody) -> Attachment:
        """Starts it; the client's stream. Raises Conflict for a second start, RuntimeStepError when it can't be run."""
        one = self._claim(exec_id)
        tty = one.body.tty
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        try:
            size = terminal_size(body.console_size) if body.console_size else one.size
            await self._engine.tasks.finish(
                self._begin(one, theirs, framed=not body.tty, size=size), f"exec {one.id[:12]}"
            )
        except BaseException:
            ours.close()
            raise
        return Attachment(ours, tty, one.body.attach_stdin, one.body.detach_keys)

    async def start_detached(self, exec_id: str) -> None:
        """Raises as `start`."""
        one = self._claim(exec_id)
        await self._engine.tasks.finish(self._begin(one, None, framed=False, size=None), f"exec {one.id[:12]}")

    def _claim(self, exec_id: str) -> Exec:
        one = self.get(exec_id)
        if one.started:
            raise Conflict(f"exec command {exec_id} {'is already running' if one.running else 'has already run'}")
        self._check(one.container)
        one.started = True
        return one

    def detached(self, exec_id: str) -> None:
        """A client has typed its detach keys."""
        one = self.get(exec_id)
        action = "exec_detach"
        self._engine.events.emit("container", action, one.container.id, one.container.attributes | {"execID": one.id})

    async def _begin(
        self, one: Exec, client: socket.socket | None, *, framed: bool, size: tuple[int, int] | None
    ) -> None:
        shim = one.container.shim
        try:
            try:
                await self._run(one, client, framed=framed, size=size)
            except RuntimeStepError as error:
                if "exec: " not in str(error) and await _has_ended_meanwhile(one.container, shim):
                    raise Conflict(f"container {one.container.id} is not running") from None
                raise
        except BaseException as error:
            one.exit_code, one.running = _code_of(error), False
            one.began.set()
            one.ended.set()
            if client is not None:
                client.close()
            self._expire(one)
            raise

    async def _run(
        self, one: Exec, client: socket.socket | None, *, framed: bool, size: tuple[int, int] | None
    ) -> None:
        """Starts the process with its streams led to `client`; a task waits for its end."""
        engine, container, body = self._engine, one.container, one.body
        if body.working_dir and not body.working_dir.startswith("/"):
            text = "OCI runtime exec failed: exec failed: Cwd must be an absolute path"
            raise RuntimeStepError("exec", errno.EINVAL, text)
        engine.events.emit(
            "container", f"exec_start: {_shown(one.args)}", container.id, container.attributes | {"execID": one.id}
        )
        request = self._request(one, tty=body.tty, size=size)
        if body.tty:
            handle = await engine.runtime.exec(request, None)
            console = os.dup(handle.console) if handle.console is not None else -1
            told = {1} if body.attach_stdout or body.attach_stderr else set()
            stdin = console if body.attach_stdin else None
            pump = Pump(client, {1: console}, stdin, tty=True, framed=framed, told=told)
        else:
            handle, pump = await self._with_pipes(request, client, body, framed=framed)
        one.handle, one.pid, one.running = handle, handle.pid, True
        one.began.set()
        if one.size:
            with contextlib.suppress(Conflict, OSError):
                handle.resize(*one.size)
        engine.tasks.watch(self._watch(one, handle, pump), f"exec {one.id[:12]} in {container.name}")

    async def _with_pipes(
        self, request: ExecProcess, client: socket.socket | None, body: ExecBody, *, framed: bool
    ) -> tuple[ExecProcessHandle, Pump]:
        theirs: list[int] = []
        ours: list[int] = []
        try:
            if body.attach_stdin and client is not None:
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
                theirs.append(read_end)
                ours.append(write_end)
            else:
                theirs.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
                ours.append(-1)
            for _ in (1, 2):
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
                theirs.append(write_end)
                ours.append(read_end)
            handle = await self._engine.runtime.exec(request, (theirs[0], theirs[1], theirs[2]))
        except BaseException:
            for fd in ours:
                if fd >= 0:
                    os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        told = {stream for stream, wanted in ((1, body.attach_stdout), (2, body.attach_stderr)) if wanted}
        stdin = ours[0] if ours[0] >= 0 else None
        return handle, Pump(client, {1: ours[1], 2: ours[2]}, stdin, tty=False, framed=framed, told=told)

    def _request(self, one: Exec, *, tty: bool, size: tuple[int, int] | None) -> ExecProcess:
        row, body = one.container.row, one.body
        config, host = row.config, row.host_config
        merged = [*(config.env or ()), *(body.env or ())]
        hostname = config.hostname or row.id[:12]
        process = Process(
            cwd=body.working_dir or config.working_dir or "/",
            args=one.args,
            env=spec.environment(_with_env(config, merged), hostname=hostname, tty=tty),
            terminal=tty,
            console_size=Box(height=size[0], width=size[1]) if size else None,
        )
        spec.bound(process, host)
        seccomp = spec.seccomp_filter(host, process)  # the container's, also for an exec that has all capabilities
        if body.privileged:
            process.capabilities = defaults.default_capabilities(spec.wanted_capabilities(["ALL"], None))
        return ExecProcess(
            container_id=row.id, pid=row.pid, process=process, cgroup_path=self._engine.cgroup_path(one.container), tty=tty,
            user=body.user or config.user, groups=list(host.group_add or ()),
            seccomp=seccomp, pid_start=one.container.shim.pid_start if one.container.shim else 0,
        )  # fmt: skip

    async def _watch(self, one: Exec, handle: ExecProcessHandle, pump: Pump) -> None:
        code = await handle.wait()
        # What is in the pipes comes out before the code is told; who else holds them is not waited for long.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await pump.done.wait()
        one.exit_code, one.running = code, False
        pump.end()
        handle.close()
        one.ended.set()
        self._engine.events.emit(
            "container",
            "exec_die",
            one.container.id,
            one.container.attributes | {"execID": one.id, "exitCode": str(code)},
        )
        self._expire(one)

    def _expire(self, one: Exec) -> None:
        def forget() -> None:
            self.forget(one.id)
            one.container.execs.discard(one.id)

        asyncio.get_running_loop().call_later(KEPT_S, forget)

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """May come before the process runs: it gets the size then."""
        one = self.get(exec_id)
        if one.handle is None:
            if one.started:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await one.began.wait()
            else:
                one.size = (rows, columns)
                return
        if one.handle is None or not one.running:
            raise Conflict(f"exec command {exec_id} is not running")
        if one.handle.console is not None:
            one.handle.resize(rows, columns)

    def inspect(self, exec_id: str) -> dict[str, Any]:
        """Docker's document."""
        one = self.get(exec_id)
        body = one.body
        return {
            "ID": one.id,
            "Running": one.running,
            "ExitCode": one.exit_code,
            "ProcessConfig": {
                "tty": body.tty, "entrypoint": one.args[0], "arguments": one.args[1:], "privileged": body.privileged,
                **({"user": body.user} if body.user else {}),
            },
            "OpenStdin": body.attach_stdin,
            "OpenStderr": body.attach_stderr,
            "OpenStdout": body.attach_stdout,
            "CanRemove": False,
            "ContainerID": one.container.id,
            "DetachKeys": body.detach_keys,
            "Pid": one.pid,
        }  # fmt: skip

    async def probe(
        self, container: Container, args: list[str], timeout_s: float, output_limit: int
    ) -> tuple[int, str]:
        """A health check's run: (exit code, output). -1 when it took too long: it is killed then."""
        one = Exec(secrets.token_hex(32), container, ExecBody(), args, started=True)
        attributes = container.attributes | {"execID": one.id}
        for action in ("exec_create", "exec_start"):
            self._engine.events.emit("container", f"{action}: {_shown(args)}", container.id, attributes)
        request = self._request(one, tty=False, size=None)
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        output = ProbeOutput(read_end, output_limit)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        said = ""
        try:
            try:
                handle = await self._engine.runtime.exec(request, (null, write_end, write_end))
            finally:
                os.close(write_end)
                os.close(null)
            try:
                async with asyncio.timeout(timeout_s):
                    code = await handle.wait()
            except TimeoutError:
                handle.kill(9)
                await handle.wait()
                code = -1
            finally:
                handle.close()
        finally:
            said = output.finish()
        self._engine.events.emit("container", "exec_die", container.id, attributes | {"exitCode": str(code)})
        return code, said


def _check_user(container: Container, user: str) -> None:
    """As dockerd: a name that the container doesn't know is the client's mistake now. Raises InvalidArgument, Conflict."""
    shim = container.must_be_alive()
    with open_process_root(shim.pid, shim.process.pidfd, container.id) as root:
        users.lookup(user, (), users.read_lines(root, "/etc/passwd"), users.read_lines(root, "/etc/group"))


def _shown(command: list[str]) -> str:
    """As dockerd puts it: the program, a space, its arguments."""
    return f"{command[0]} {' '.join(command[1:])}"


def _code_of(error: BaseException) -> int:
    """What dockerd makes of an error's words: 127 for what isn't there, 126 for the rest."""
    if isinstance(error, RuntimeStepError) and "no such file or directory" in str(error):
        return 127
    return error.exit_code if isinstance(error, RuntimeStepError) else 126


async def _has_ended_meanwhile(container: Container, shim: Shim | None) -> bool:
    """Whether an exec failed because its container went under it: the others in a pid namespace die before its first process."""
    if shim is None or shim is not container.shim:
        return True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DYING_S):
            await shim.process.ended()
    return shim is not container.shim or shim.process.has_ended()


def _with_env(config: Any, env: list[str]) -> Any:
    import msgspec

    return msgspec.structs.replace(config, env=env)
