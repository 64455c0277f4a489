"""Launcher, shim and client with real containers: what holds when one of them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onggi.errors import Conflict, RuntimeStepError
from onggi.kernel import cgroups
from onggi.kernel.cgroups.resources import Memory, Resources
from onggi.oci.runtime import Process, Spec
from onggi.runtime.client import AttachSocket, Runtime
from onggi.runtime.devicerules import with_default_rules
from onggi.runtime.example import example_spec
from onggi.runtime.handles import Shim
from onggi.runtime.plan import InitPlan, RootfsPlan
from onggi.runtime.protocol import AttachPlan, ExecProcess, ExitRecord, LogPlan, StartContainer
from tests.patience import SLOW

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rootfs")
    for name in ("bin", "proc", "dev", "sys", "tmp", "etc"):
        (root / name).mkdir()
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    for name in ("sh", "true", "false", "echo", "cat", "sleep", "yes", "head", "kill", "stty", "dd", "ls", "printf"):
        (root / "bin" / name).symlink_to("busybox")
    return root


def cgroup_exists(path: str) -> bool:
    return any(Path("/sys/fs/cgroup", hierarchy, path.strip("/")).exists() for hierarchy in (".", "pids", "memory"))


class Bench:
    """One runtime, with containers of unique names."""

    def __init__(self, runtime: Runtime, rootfs: Path, logs: Path) -> None:
        self.runtime, self.rootfs, self.logs = runtime, rootfs, logs
        self.parent = f"/onggi-test-{uuid.uuid4().hex[:8]}"
        self.started: dict[str, Shim] = {}

    def request(self, *args: str, tty: bool = False, log: bool = True, **options: Any) -> StartContainer:
        container_id = uuid.uuid4().hex * 2
        spec: Spec = with_default_rules(example_spec())
        process = msgspec.structs.replace(spec.process or Process(), args=list(args), terminal=tty)
        plan = InitPlan(
            spec=msgspec.structs.replace(spec, process=process, root=None), rootfs=RootfsPlan(path=str(self.rootfs))
        )
        return StartContainer(
            container_id,
            plan,
            f"{self.parent}/{container_id}",
            log=LogPlan(path=str(self.logs / f"{container_id}.log")) if log else LogPlan(driver="none"),
            tty=tty,
            **options,
        )

    async def start(self, *args: str, attach: tuple[AttachSocket, ...] = (), **options: Any) -> Shim:
        shim = await self.runtime.start(self.request(*args, **options), attach=attach)
        self.started[shim.container_id] = shim
        return shim

    def log(self, shim: Shim, stream: str = "stdout") -> str:
        path = self.logs / f"{shim.container_id}.log"
        entries = [json.loads(line) for line in path.read_bytes().splitlines()]
        return "".join(entry["log"] for entry in entries if entry["stream"] == stream)

    def cgroup_exists(self, container_id: str) -> bool:
        return cgroup_exists(f"{self.parent}/{container_id}")


@asynccontextmanager
async def bench(tmp_path: Path, rootfs: Path) -> AsyncIterator[Bench]:
    runtime = await Runtime.open(tmp_path / "run")
    made = Bench(runtime, rootfs, tmp_path)
    try:
        yield made
    finally:
        for container_id in runtime.known():
            left = await runtime.adopt(container_id)
            if isinstance(left, Shim):
                left.process.signal(signal.SIGKILL)
                await left.wait()
                await left.forget()
            else:
                await runtime.forget(container_id)
        for shim in made.started.values():
            shim.release()
        await runtime.close()
        cgroups.open(made.parent).remove()


Claim = Callable[[Bench], Coroutine[None, None, None]]


def run(tmp_path: Path, rootfs: Path, claim: Claim) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30 * SLOW), bench(tmp_path, rootfs) as made:
            await claim(made)

    asyncio.run(whole())


def frames(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while data:
        stream, size = struct.unpack(">BxxxI", data[:8])
        found[stream] = found.get(stream, b"") + data[8 : 8 + size]
        data = data[8 + size :]
    return found


async def read_all(sock: socket.socket) -> bytes:
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    data = b""
    while piece := await loop.sock_recv(sock, 1 << 16):
        data += piece
    return data


def is_running(pid: int) -> bool:
    """Zombies aren't: their new parent takes its time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what has no event of its own; the test's timeout is the end of it."""
    while not holds():
        await asyncio.sleep(0.01)


def test_a_container_says_what_it_said_and_how_it_ended(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sh", "-c", "echo out; echo err >&2; exit 3")
        record = await shim.wait()
        assert (record.exit_code, record.signal, record.oom_killed) == (3, 0, False)
        assert (b.log(shim), b.log(shim, "stderr")) == ("out\n", "err\n")
        await shim.forget()
        assert b.runtime.known() == []
        assert not b.cgroup_exists(shim.container_id)

    run(tmp_path, rootfs, claim)


def test_a_hundred_containers_that_end_at_once_are_all_known(tmp_path: Path, rootfs: Path) -> None:
    async def one(b: Bench) -> int:
        shim = await b.start("true")
        record = await shim.wait()
        await shim.forget()
        return record.exit_code

    async def claim(b: Bench) -> None:
        for _ in range(20):
            assert await asyncio.gather(*(one(b) for _ in range(5))) == [0] * 5

    run(tmp_path, rootfs, claim)


def test_a_program_that_is_not_there_is_127_and_leaves_nothing(
    tmp_path: Path, rootfs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def claim(b: Bench) -> None:
        assert (await (await b.start("true")).wait()).exit_code == 0
        request = b.request("nothing-of-that-name")
        with pytest.raises(RuntimeStepError, match="executable file not found in \\$PATH") as refused:
            await b.runtime.start(request)
        assert refused.value.exit_code == 127
        assert request.container_id not in b.runtime.known()
        assert not cgroup_exists(request.cgroup_path)

    run(tmp_path, rootfs, claim)
    assert capfd.readouterr().err == ""


def test_an_attached_client_gets_the_first_byte_and_the_end(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            shim = await b.start("sh", "-c", "echo first; echo oops >&2", attach=(AttachSocket(theirs.fileno()),))
            theirs.close()
            assert frames(await read_all(ours)) == {1: b"first\n", 2: b"oops\n"}
            await shim.wait()

    run(tmp_path, rootfs, claim)


def test_stdin_and_its_end_reach_the_process(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            attach = (AttachSocket(theirs.fileno(), AttachPlan(stdin=True)),)
            shim = await b.start("cat", open_stdin=True, stdin_once=True, attach=attach)
            theirs.close()
            ours.sendall(b"some input")
            ours.shutdown(socket.SHUT_WR)
            assert frames(await read_all(ours)) == {1: b"some input"}
            assert (await shim.wait()).exit_code == 0

    run(tmp_path, rootfs, claim)


def test_a_client_that_leaves_unread_input_behind_costs_nothing(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            attach = (AttachSocket(theirs.fileno(), AttachPlan(stdin=True)),)
            shim = await b.start("sh", "-c", "sleep 0.6; cat | head -c 1000000 | wc -c", open_stdin=True, attach=attach)
            theirs.close()
            ours.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    ours.send(b"i" * 65536)
        before = cpu_ticks(shim.shim_pid)
        await asyncio.sleep(0.4)
        assert cpu_ticks(shim.shim_pid) - before < 10
        await shim.kill(signal.SIGKILL)

    run(tmp_path, rootfs, claim)


def cpu_ticks(pid: int) -> int:
    """User and system time of a process (proc_pid_stat(5)), in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_terminal_is_raw_and_can_be_resized(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            shim = await b.start("sh", "-c", "read x; stty size; echo $x", tty=True, open_stdin=True)
            await shim.resize(33, 77)
            inode, offset = await shim.attach(theirs.fileno(), stdin=True, stdout=True, stderr=True)
            assert inode > 0
            assert offset == 0
            theirs.close()
            ours.sendall(b"typed\n")
            assert await read_all(ours) == b"typed\r\n33 77\r\ntyped\r\n"
            assert (await shim.wait()).exit_code == 0
            with pytest.raises(Conflict):
                await shim.resize(1, 1)

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-01")
@pytest.mark.row("R-02")
def test_a_container_outlives_its_engine_and_logs_meanwhile(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sh", "-c", "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done; sleep 60")
        shim.release()
        await b.runtime.close()
        second = await Runtime.open(tmp_path / "run")
        again = await second.adopt(shim.container_id)
        assert isinstance(again, Shim)
        assert (again.pid, again.started_at_ns) == (shim.pid, shim.started_at_ns)
        await until(lambda: b.log(again).count("\n") == 300)
        assert b.log(again) == "".join(f"{n}\n" for n in range(300))
        await again.kill(signal.SIGKILL)
        assert (await again.wait()).exit_code == 137
        await again.forget()
        await second.close()

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-03")
def test_an_exit_while_no_engine_is_there_is_known_to_the_next(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sh", "-c", "exit 42")
        shim.release()
        await until(lambda: not is_running(shim.pid))
        for _ in range(2):
            again = await b.runtime.adopt(shim.container_id)
            assert isinstance(again, Shim)
            assert (await again.wait()).exit_code == 42
            again.release()
        again = await b.runtime.adopt(shim.container_id)
        assert isinstance(again, Shim)
        await again.forget()
        assert await b.runtime.adopt(shim.container_id) is None

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-03")
def test_an_exit_record_outlives_a_shim_that_is_killed_after_it(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sh", "-c", "exit 7")
        await shim.wait()
        shim.release()
        os.kill(shim.shim_pid, signal.SIGKILL)
        await until(lambda: not is_running(shim.shim_pid))
        left = await b.runtime.adopt(shim.container_id)
        assert isinstance(left, ExitRecord)
        assert left.exit_code == 7
        await b.runtime.forget(shim.container_id)
        assert b.runtime.known() == []

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-04")
def test_a_killed_shim_takes_its_container_along_within_a_second(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sh", "-c", "sleep 60 & sleep 60")
        begin = time.monotonic()
        os.kill(shim.shim_pid, signal.SIGKILL)
        record = await shim.wait()
        assert time.monotonic() - begin < 1
        assert (record.exit_code, record.signal) == (137, 9)
        assert "shim" in record.reason
        assert not is_running(shim.pid)
        await shim.forget()
        assert b.runtime.known() == []
        assert not b.cgroup_exists(shim.container_id)

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-04")
def test_a_shim_killed_while_no_engine_is_there_is_cleaned_up_by_the_next(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sleep", "60")
        shim.release()
        os.kill(shim.shim_pid, signal.SIGKILL)
        left = await b.runtime.adopt(shim.container_id)
        assert isinstance(left, ExitRecord)
        assert left.exit_code == 137
        await until(lambda: not is_running(shim.pid))
        await b.runtime.forget(shim.container_id)
        assert not b.cgroup_exists(shim.container_id)

    run(tmp_path, rootfs, claim)


def test_forgetting_a_container_that_still_has_its_shim_ends_both(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sleep", "60")
        shim.release()
        await b.runtime.forget(shim.container_id)
        await until(lambda: not is_running(shim.shim_pid))
        assert not is_running(shim.pid)
        assert b.runtime.known() == []
        assert not b.cgroup_exists(shim.container_id)

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-05")
def test_a_killed_launcher_harms_no_container_and_is_replaced(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        before = await b.start("sh", "-c", "read x; exit 5", open_stdin=True)
        launcher = b.runtime.launcher_pid
        os.kill(launcher, signal.SIGKILL)
        # A starter of the old one, which hasn't seen its end yet, may take the first.
        while b.runtime.launcher_pid == launcher:
            after = await b.start("true")
            assert (await after.wait()).exit_code == 0
        ours, theirs = socket.socketpair()
        with ours, theirs:
            await before.attach(theirs.fileno(), stdin=True, stdout=True, stderr=True)
            ours.sendall(b"go\n")
            assert (await before.wait()).exit_code == 5

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-05")
def test_starts_amid_which_the_launcher_is_killed_succeed_or_fail_cleanly(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        starts = [asyncio.ensure_future(b.start("sh", "-c", "exit 9")) for _ in range(12)]
        await asyncio.sleep(0.02)
        os.kill(b.runtime.launcher_pid, signal.SIGKILL)
        results = await asyncio.gather(*starts, return_exceptions=True)
        shims = [result for result in results if isinstance(result, Shim)]
        for shim in shims:
            assert (await shim.wait()).exit_code == 9
            await shim.forget()
        assert b.runtime.known() == []

    run(tmp_path, rootfs, claim)


def test_a_container_that_is_paused_as_soon_as_it_runs_can_be_spoken_to(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        for _ in range(5):
            shim = await b.start("sleep", "60")
            cgroup = cgroups.open(f"{b.parent}/{shim.container_id}")
            cgroup.freeze()
            ours, theirs = socket.socketpair()
            with ours, theirs:
                await shim.attach(theirs.fileno(), stdin=False, stdout=True, stderr=True)
                cgroup.thaw()
                await shim.kill(signal.SIGKILL)
                assert (await shim.wait()).exit_code == 137
            children = Path(f"/proc/{shim.shim_pid}/task/{shim.shim_pid}/children")
            await until(lambda path=children: path.read_text() == "")  # type: ignore[misc]
            await shim.forget()

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-24")
@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.003, 0.005, 0.008])
def test_a_start_that_is_given_up_leaves_nothing(tmp_path: Path, rootfs: Path, delay_s: float) -> None:
    async def claim(b: Bench) -> None:
        assert (await (await b.start("true")).wait()).exit_code == 0
        requests = [b.request("sleep", "60") for _ in range(4)]
        starts = [asyncio.ensure_future(b.runtime.start(request)) for request in requests]
        await asyncio.sleep(delay_s)
        for start in starts:
            start.cancel()
        ended = await asyncio.gather(*starts, return_exceptions=True)
        for shim in ended:
            if isinstance(shim, Shim):
                b.started[shim.container_id] = shim
        given_up = [r for r, e in zip(requests, ended, strict=True) if not isinstance(e, Shim)]
        await until(lambda: not any(cgroup_exists(request.cgroup_path) for request in given_up))
        await until(lambda: not {request.container_id for request in given_up} & set(b.runtime.known()))

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-20")
def test_a_client_that_stops_reading_is_cut_and_the_container_goes_on(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            attach = (AttachSocket(theirs.fileno(), AttachPlan(patience_s=1.5)),)
            shim = await b.start("sh", "-c", "head -c 8000000 /dev/zero; echo done", attach=attach)
            theirs.close()
            assert (await shim.wait()).exit_code == 0
            # Before the long look at the log: the notice waits for its reader as long as the output did.
            got = frames(await read_all(ours))
            assert b.log(shim).endswith("\x00done\n")
            assert b"too slowly" in got[2]

    run(tmp_path, rootfs, claim)


def test_exec_joins_the_container_and_gives_its_code(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sleep", "60")
        reader, writer = os.pipe()
        process = msgspec.structs.replace(example_spec().process or Process(), args=["sh", "-c", "echo $$ in; exit 4"])
        null = os.open("/dev/null", os.O_RDWR)
        request = ExecProcess(
            shim.container_id, shim.pid, process, f"{b.parent}/{shim.container_id}", pid_start=shim.pid_start
        )
        handle = await b.runtime.exec(request, (null, writer, writer))
        os.close(writer)
        os.close(null)
        assert await handle.wait() == 4
        with os.fdopen(reader, "rb") as output:
            assert output.read().endswith(b" in\n")
        handle.close()
        missing = msgspec.structs.replace(process, args=["/not/there"])
        with pytest.raises(RuntimeStepError) as refused:
            await b.runtime.exec(msgspec.structs.replace(request, process=missing), (0, 1, 2))
        assert refused.value.exit_code == 127

    run(tmp_path, rootfs, claim)


def test_exec_with_a_terminal_hands_its_master_out(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sleep", "60")
        process = msgspec.structs.replace(
            example_spec().process or Process(), args=["sh", "-c", "read x; stty size; exit 6"], terminal=True
        )
        request = ExecProcess(shim.container_id, shim.pid, process, f"{b.parent}/{shim.container_id}", tty=True)
        handle = await b.runtime.exec(request, None)
        assert handle.console is not None
        handle.resize(20, 50)
        os.write(handle.console, b"\n")
        assert await handle.wait() == 6
        said = b""
        with contextlib.suppress(OSError):  # EIO at the end of a terminal that nobody has open
            while piece := os.read(handle.console, 1000):
                said += piece
        assert b"20 50" in said
        handle.close()

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-17")
def test_a_container_that_eats_too_much_memory_is_reported_as_oom_killed(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        request = b.request("sh", "-c", "x=$(head -c 100000000 /dev/zero | cat -v); echo survived")
        resources = Resources(memory=Memory(limit=16 * 1024 * 1024, swap=16 * 1024 * 1024))
        spec = request.plan.spec
        assert spec.linux is not None
        limited = msgspec.structs.replace(spec, linux=msgspec.structs.replace(spec.linux, resources=resources))
        shim = await b.runtime.start(
            msgspec.structs.replace(request, plan=msgspec.structs.replace(request.plan, spec=limited))
        )
        record = await shim.wait()
        assert record.oom_killed
        assert record.exit_code != 0
        await shim.forget()
        shim.release()

    run(tmp_path, rootfs, claim)


def test_a_kill_for_memory_is_told_while_the_container_goes_on(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        hungry = "(x=$(head -c 100000000 /dev/zero | cat -v)); sleep 60"
        request = b.request("sh", "-c", hungry)
        limit = Resources(memory=Memory(limit=16 * 1024 * 1024, swap=16 * 1024 * 1024))
        spec = request.plan.spec
        assert spec.linux is not None
        spec = msgspec.structs.replace(spec, linux=msgspec.structs.replace(spec.linux, resources=limit))
        shim = await b.runtime.start(
            msgspec.structs.replace(request, plan=msgspec.structs.replace(request.plan, spec=spec))
        )
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        shim.on_oom(lambda kills: told.done() or told.set_result(kills))
        assert await told >= 1
        assert is_running(shim.pid)
        await shim.kill(signal.SIGKILL)
        assert (await shim.wait()).oom_killed
        await shim.forget()
        shim.release()

    run(tmp_path, rootfs, claim)


def test_nothing_unreaped_stays_beside_an_exec(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sleep", "60")
        process = msgspec.structs.replace(example_spec().process or Process(), args=["sleep", "30"])
        null = os.open("/dev/null", os.O_RDWR)
        request = ExecProcess(shim.container_id, shim.pid, process, f"{b.parent}/{shim.container_id}")
        handle = await b.runtime.exec(request, (null, null, null))
        os.close(null)
        parent = int(Path(f"/proc/{handle.pid}/stat").read_text().rpartition(")")[2].split()[1])
        children = Path(f"/proc/{parent}/task/{parent}/children")
        await until(lambda: children.read_text().split() == [str(handle.pid)])
        handle.kill(signal.SIGKILL)
        assert await handle.wait() == 137
        handle.close()

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-17")
def test_the_container_is_offered_to_the_oom_killer_before_its_shim(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sleep", "60")
        scores = [Path(f"/proc/{pid}/oom_score_adj").read_text().strip() for pid in (shim.pid, shim.shim_pid)]
        status = Path("/proc/self/status").read_text()
        capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
        # Lowering one's score takes CAP_SYS_RESOURCE (24), which some containers and guests have not.
        assert scores == ["0", "-900" if capabilities >> 24 & 1 else "0"]

    run(tmp_path, rootfs, claim)


@pytest.mark.row("S-21")
def test_launcher_and_shim_have_one_thread(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sleep", "60")
        for pid in (b.runtime.launcher_pid, shim.shim_pid):
            assert len(os.listdir(f"/proc/{pid}/task")) == 1

    run(tmp_path, rootfs, claim)


@pytest.mark.row("S-01")
def test_launcher_and_shim_run_from_a_sealed_copy_of_the_interpreter(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sleep", "60")
        for pid in (b.runtime.launcher_pid, shim.shim_pid):
            assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")
            with pytest.raises(OSError, match=r"Operation not permitted|Text file busy"):
                os.open(f"/proc/{pid}/exe", os.O_WRONLY)

    run(tmp_path, rootfs, claim)


@pytest.mark.row("R-10")
def test_what_an_earlier_boot_left_is_removed_and_nothing_else(tmp_path: Path, rootfs: Path) -> None:
    old = tmp_path / "run/01234567-89ab-cdef-0123-456789abcdef/shims" / ("f" * 64)
    foreign = tmp_path / "run/other/shims"
    for directory in (old, foreign):
        directory.mkdir(parents=True)

    async def claim(b: Bench) -> None:
        assert b.runtime.known() == []
        assert foreign.is_dir()
        assert not old.parents[1].exists()

    run(tmp_path, rootfs, claim)


@pytest.mark.row("S-73")
def test_sockets_of_shims_are_where_only_root_can_go(tmp_path: Path, rootfs: Path) -> None:
    async def claim(b: Bench) -> None:
        shim = await b.start("sleep", "60")
        [directory] = (tmp_path / "run").glob(f"*/shims/{shim.container_id}")
        assert all((path.stat().st_mode & 0o777) == 0o700 for path in (directory, directory.parent))
        assert "@onggi" not in Path("/proc/net/unix").read_text()

    run(tmp_path, rootfs, claim)
