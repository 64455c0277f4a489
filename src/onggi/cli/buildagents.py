"""`build --ssh`: the engine's questions to an ssh agent of this machine are carried to it, while the build lasts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile

from onggi.cli.command import Exit
from onggi.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onggi.cli.command import Context
    from onggi.client.sync import Connection


def sockets_of(words: Sequence[str], stack: contextlib.ExitStack) -> dict[str, str]:
    """Agents by name, for `default`, `name=socket` and `name=key[,key…]`; keys get an agent of their own, which goes with `stack`."""
    found: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        paths = value.split(",") if value else [os.environ.get("SSH_AUTH_SOCK", "")]
        if not paths[0]:
            raise Exit(1, f"invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set (--ssh {word})")
        missing = next((path for path in paths if not os.path.exists(path)), "")
        if missing:
            raise Exit(1, f"failed to stat {missing}: no such file or directory")
        is_socket = len(paths) == 1 and not os.path.isfile(paths[0])
        found[name] = paths[0] if is_socket else stack.enter_context(_agent_of(paths))
    return found


@contextlib.contextmanager
def _agent_of(keys: Sequence[str]) -> Iterator[str]:
    """The socket of an agent that has these keys and no others."""
    with tempfile.TemporaryDirectory(prefix="onggi-ssh-") as directory:
        path = os.path.join(directory, "agent")
        try:
            server = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
        except FileNotFoundError:
            raise Exit(1, "--ssh with keys needs OpenSSH's ssh-agent and ssh-add") from None
        try:
            if server.stdout is not None:
                server.stdout.readline()  # said when it listens
            environment = {**os.environ, "SSH_AUTH_SOCK": path}
            done = subprocess.run(["ssh-add", "-q", *keys], env=environment, check=False)
            if done.returncode:
                raise Exit(1, f"failed to load ssh keys: {', '.join(keys)}")
            yield path
        finally:
            server.terminate()
            server.wait()


@contextlib.contextmanager
def carried(context: Context, build_id: str, agents: dict[str, str]) -> Iterator[None]:
    """While the block lasts, the engine may ask `agents`."""
    import threading

    with contextlib.ExitStack() as stack:
        for name, path in agents.items():
            connection = stack.enter_context(context.connect().hijack(images.build_agent(build_id, name)))
            threading.Thread(target=_carry, args=(connection, path), name=f"ssh agent {name}", daemon=True).start()
        yield


def _carry(connection: Connection, path: str) -> None:
    """Until the connection ends. An agent that can't be reached is one that answers nothing."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as agent:
        agent.connect(path)
        pending = b""
        while True:
            while len(pending) < 4 or len(pending) < (size := 4 + int.from_bytes(pending[:4], "big")):
                data = connection.receive()
                if not data:
                    return
                pending += data
            agent.sendall(pending[:size])
            pending = pending[size:]
            connection.send(_answer(agent))
    connection.close_write()


def _answer(agent: socket.socket) -> bytes:
    """One message of the agent's. Raises OSError at its end."""
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        piece = agent.recv(1 << 16)
        if not piece:
            raise ConnectionResetError("the ssh agent has gone")
        data += piece
    return data
