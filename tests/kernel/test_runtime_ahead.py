"""A child that was made ahead is no other container: what it finds, and what it refuses, is the same."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import time
import uuid
from pathlib import Path

import pytest

from onggi.errors import RuntimeStepError
from onggi.kernel import cgroups, process
from onggi.kernel.netlink import Route
from onggi.oci.runtime import Namespace
from onggi.runtime import ahead, defaults, handover, init, protocol, spare
from onggi.runtime.handover import SpareReady
from onggi.runtime.plan import LinkPlan
from onggi.runtime.starter import Spare
from tests.kernel.spawning import Box, Result, read_all

pytestmark = pytest.mark.root

LOOK = """
cut -d' ' -f5- /proc/self/mountinfo | sed 's/upperdir=.*//; s/master:[0-9]*//' | sort
ls -lAn /dev | sed 's/ [A-Z][a-z][a-z]  *[0-9]* ..:.. / /'
grep -E '^(Cap|Sig[^Q]|Seccomp:|NoNewPrivs|Uid|Gid|Groups|NSsid)' /proc/self/status
wc -c /proc/keys /proc/timer_list 2>&1; ls /proc/acpi /sys/firmware
cat /proc/self/cgroup /proc/self/oom_score_adj; hostname; umask; ulimit -n; pwd; env
cat /proc/sys/net/ipv4/ping_group_range; ip addr show lo | grep inet
echo x 2>&1 > /proc/sys/kernel/core_pattern; ls /proc/self/fd
"""


def in_starter(box: Box, *args: str, spoil: bool = False) -> Result:
    """Start as a starter does: by a process that is not the container's parent, with a child that this one has made ahead."""
    reader, writer = os.pipe()
    told, tell = os.pipe()
    plan = box.plan(*args)
    pool, offers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child, ours, alarm = spare.offer(offers, os.open(os.devnull, os.O_RDONLY), "")
    if spoil:
        with process.pidfd_open(child) as pidfd:
            process.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd.fileno()], [], [])
    starter = os.fork()
    if starter == 0:
        try:
            null = os.open(os.devnull, os.O_RDWR)
            payload, fds = protocol.receive(pool)
            ready = handover.decode_spare(payload)
            assert isinstance(ready, SpareReady)
            with Spare(ready, fds) as taken:
                if not ahead.fits(plan) or not taken.made.is_ready():
                    os.write(tell, pickle.dumps(None))
                    os._exit(0)
                stdio = (null, writer, writer)
                spawned = init.spawn_ahead(taken.made, plan, stdio=stdio, tty=False, cgroup=box.cgroup, placed=False)
                os.write(tell, pickle.dumps(spawned.pid))
        except RuntimeStepError as error:
            os.write(tell, pickle.dumps((error.errno, str(error), error.exit_code)))
        finally:
            os._exit(0)
    for fd in (writer, tell):
        os.close(fd)
    for sock in (pool, ours):
        sock.close()
    alarm._epoll.close()
    os.waitpid(starter, 0)
    answer = pickle.loads(os.read(told, 65536))
    os.close(told)
    status = os.waitpid(child, 0)[1]
    try:
        if isinstance(answer, tuple):
            raise RuntimeStepError("", answer[0], answer[1], answer[2])
        return Result(os.waitstatus_to_exitcode(status), "" if answer is None else read_all(reader))
    finally:
        os.close(reader)


def prepare(box: Box, tmp_path: Path) -> None:
    assert box.spec.linux is not None
    box.spec.hostname = "box"
    box.spec.linux.sysctl = dict(defaults.SYSCTLS)
    box.spec.mounts[-1].options.append(f"size={defaults.SHM_BYTES}")
    box.mount(tmp_path, "/data")
    box.process.cwd = "/work"
    box.user = "0"
    box.process.oom_score_adj = 0


def test_a_container_made_ahead_finds_what_another_finds(container: Box, tmp_path: Path) -> None:
    prepare(container, tmp_path)
    at_once = container.sh(LOOK)
    assert "/sys/fs/cgroup" in at_once.out
    assert in_starter(container, "sh", "-c", LOOK) == at_once


@pytest.mark.parametrize("addresses", [["10.213.8.2/24"], ["10.213.8.2/24", "fd00:214::2/64"], []])
def test_its_links_are_as_anothers(container: Box, addresses: list[str]) -> None:
    bridge = f"ogt{uuid.uuid4().hex[:8]}"
    look = "ip addr show eth0 2>/dev/null | grep inet | grep -v fe80; cd /proc/sys/net/ipv6/conf; grep . */disable_ipv6 */accept_ra"
    with Route() as route:
        route.add_bridge(bridge)
        try:
            for number, start in enumerate((container.run, lambda *args: in_starter(container, *args))):
                link = LinkPlan(f"{bridge}{number}", bridge, addresses=addresses)
                container.links = [link] if addresses else []
                result = start("sh", "-c", look)
                if number == 0:
                    at_once = result
            assert result == at_once
            assert result.code == 0
        finally:
            route.delete(bridge)


def test_its_errors_are_the_same(container: Box) -> None:
    with pytest.raises(RuntimeStepError, match=r'exec: "missing": executable file not found in \$PATH') as refused:
        in_starter(container, "missing")
    assert refused.value.exit_code == 127
    container.user = "nobody-here"
    with pytest.raises(RuntimeStepError, match="unable to find user nobody-here"):
        in_starter(container, "true")
    assert container.cgroup.pids() == []


def test_what_the_default_hides_is_shown_to_who_may_see_it(container: Box) -> None:
    assert container.spec.linux is not None
    container.spec.linux.masked_paths, container.spec.linux.readonly_paths = [], []
    out = in_starter(container, "sh", "-c", "grep -c ' /proc/' /proc/mounts; wc -c < /proc/timer_list").out.split()
    assert out[0] == "0"
    assert int(out[1]) > 0


def test_a_child_that_was_killed_while_it_waited_is_not_taken(container: Box) -> None:
    assert in_starter(container, "echo", "fine", spoil=True) == Result(-signal.SIGKILL, "")
    assert in_starter(container, "echo", "fine").out == "fine\n"


def test_a_plan_for_other_namespaces_is_not_for_it(container: Box) -> None:
    assert container.spec.linux is not None
    assert ahead.fits(container.plan("true"))
    container.spec.linux.namespaces = [n for n in defaults.namespaces(cgroup=False) if n.type != "network"]
    assert not ahead.fits(container.plan("true"))
    container.spec.linux.namespaces = [*container.spec.linux.namespaces, Namespace("network", "/proc/1/ns/net")]
    assert not ahead.fits(container.plan("true"))


@pytest.mark.row("R-40")
def test_a_shim_that_nobody_waits_for_any_more_leaves_no_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*words: object) -> None:
        time.sleep(0.1)  # its child is in its cgroup by then
        send(*words)

    send = protocol.send
    monkeypatch.setattr(protocol, "send", late)
    parent = f"/onggi-test-{uuid.uuid4().hex[:8]}"
    pool, offers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pool.close()
    shim = os.fork()
    if shim == 0:
        spare.offer(offers, os.open(os.devnull, os.O_RDONLY), parent)
        os._exit(9)
    offers.close()
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(shim, 0)[1]) == 0
        assert not list(Path("/sys/fs/cgroup").glob(f"*{parent}/spare-*"))
    finally:
        cgroups.open(parent).remove()
