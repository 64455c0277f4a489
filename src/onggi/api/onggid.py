"""`onggid`: reads its options, opens its sockets, opens the engine, serves until it is told to go.

Rights: root with every capability: what it starts is less. Descriptors expected: 0-2, and what systemd passed.
SIGTERM and SIGINT: the engine goes, containers stay, each with its shim. SIGHUP: TLS files, log level and what concerns registries are read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from onggi import __version__
from onggi.api import logs
from onggi.api.guards import HostGuard
from onggi.api.listeners import BACKLOG, Listener, TlsFiles, close_listeners, open_listeners, passed_sockets
from onggi.api.notify import notify
from onggi.api.options import DEFAULTS, Settings, merge, parse_arguments, parse_file, usage
from onggi.api.service import Service
from onggi.api.tls import TlsEnd
from onggi.errors import InvalidArgument, OnggiError
from onggi.kernel import heap
from onggi.rootless import INSIDE, places

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


log = logging.getLogger("onggi.api")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if any(word in ("-h", "--help") for word in words):
        sys.stdout.write(usage())
        return 0
    if any(word in ("-v", "--version") for word in words):
        sys.stdout.write(f"onggid version {__version__}\n")
        return 0
    try:
        settings = load(words)
    except OnggiError as error:
        sys.stderr.write(f"onggid: {error}\n")
        return 1
    if settings.flag("validate"):
        sys.stdout.write("configuration OK\n")
        return 0
    if settings.flag("rootless") and INSIDE not in os.environ:
        return _enter(settings, words)
    if os.geteuid() != 0:
        sys.stderr.write("onggid: needs to be started with root privileges (as an ordinary user: onggid --rootless)\n")
        return 1
    os.umask(0o022)
    heap.stay_small()
    logs.set_up("debug" if settings.flag("debug") else settings.text("log-level"))
    return _run(settings)


def _enter(settings: Settings, words: Sequence[str]) -> int:
    """Comes back only when it fails: this process becomes the engine, as root of the user's own namespaces."""
    from onggi.rootless.enter import enter

    if os.geteuid() == 0:
        sys.stderr.write("onggid: --rootless is for ordinary users: root needs none of it\n")
        return 1
    try:
        enter([sys.executable, "-I", sys.argv[0], *words], settings.text("exec-root"))
    except OnggiError as error:
        sys.stderr.write(f"onggid: {error}\n")
    return 1


def load(words: Sequence[str]) -> Settings:
    """Command line and file together. Raises InvalidArgument, as dockerd words it."""
    line = parse_arguments(words)
    usual = DEFAULTS | places.defaults(os.environ) if line.get("rootless") else DEFAULTS
    named = line.get("config-file")
    path = str(named or usual["config-file"])
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        if named:
            raise InvalidArgument(f"unable to configure the engine with file {path}: no such file") from None
        data = b"{}"
    except OSError as error:
        raise InvalidArgument(f"unable to configure the engine with file {path}: {error.strerror}") from None
    try:
        return merge(line, parse_file(data), usual)
    except InvalidArgument as error:
        if data.strip() in (b"", b"{}"):
            raise
        raise InvalidArgument(f"unable to configure the engine with file {path}: {error}") from None


def _run(settings: Settings) -> int:
    import uvloop  # late: --help and --validate don't need it

    try:
        with contextlib.ExitStack() as undo:
            _write_pidfile(settings, undo)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(Program(settings).serve())
    except OnggiError as error:
        log.critical("the engine can't start", extra={"reason": str(error)})
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _write_pidfile(settings: Settings, undo: contextlib.ExitStack) -> None:
    """Raises OnggiError when another engine's pidfile says that it runs."""
    path = settings.text("pidfile") or os.path.join(settings.text("exec-root"), "onggid.pid")
    with contextlib.suppress(OSError, ValueError), open(path) as file:
        pid = int(file.read())
        if pid != os.getpid() and _is_onggid(pid):
            raise OnggiError(f"process with PID {pid} is still running ({path})")
    os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
    with open(path, "w") as file:
        file.write(f"{os.getpid()}\n")
    undo.callback(_remove, path)


def _is_onggid(pid: int) -> bool:
    """A pid from before a reboot may be anybody's now."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"onggid" in file.read()
    except OSError:
        return False


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


class Program:
    """One run of the engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: list[Listener] = []
        self._servers: list[asyncio.Server] = []
        self._engine: Engine | None = None

    async def serve(self) -> None:
        """Until SIGTERM or SIGINT. Raises OnggiError when it can't begin."""
        # Late: the engine's rooms are most of what there is to import.
        from onggi.api.routes import every_route
        from onggi.api.site import Site

        settings = self._settings
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leave.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        service = Service(debug=settings.flag("debug"))
        site = Site(service, every_route())
        self._listeners = open_listeners(
            settings.texts("host"),
            group=settings.text("group"),
            tls=_tls_files(settings),
            insecure_loopback=settings.flag("insecure-loopback"),
            passed=passed_sockets(),
        )
        try:
            for listener in self._listeners:
                serve: Callable[[], asyncio.Protocol] = site.connections(_guard(listener, settings))
                if listener.tls is not None:
                    serve = partial(TlsEnd, listener.tls, serve)
                self._servers.append(await loop.create_server(serve, sock=listener.sock, backlog=BACKLOG))
            self._engine = await _open_engine(settings)
            service.ready(self._engine)
            gc.collect()
            gc.freeze()
            heap.trim()
            notify("READY=1")
            log.info("ready", extra={"version": __version__, "pid": os.getpid()})
            await leave.wait()
            log.info("going: containers stay")
            notify("STOPPING=1")
        finally:
            service.close("the engine is going")
            for server in self._servers:
                server.close()
            await site.close(settings.number("shutdown-timeout"))
            if self._engine is not None:
                await self._engine.close()
            close_listeners(self._listeners)

    def _reload(self) -> None:
        """SIGHUP. All or nothing: a file that can't be read leaves everything as it was."""
        from onggi.api.engineoptions import registry_options

        notify("RELOADING=1")
        try:
            settings = load(sys.argv[1:])
            registries = registry_options(settings)
            for listener in self._listeners:
                files = _tls_files(settings)
                if listener.tls is not None and files is not None:
                    # The context is the listener's: connections that stand keep what they have agreed on.
                    listener.tls.load_cert_chain(files.certificate, files.key)
                    listener.tls.load_verify_locations(files.ca)
            logs.set_up("debug" if settings.flag("debug") else settings.text("log-level"))
            self._settings = settings
            log.info("configuration is reloaded")
            if self._engine is not None:
                self._engine.images.reconfigure(registries)
                self._engine.events.emit("daemon", "reload", self._engine.id, {"name": os.uname().nodename})
        except (OnggiError, OSError) as error:
            log.error("configuration can't be reloaded", extra={"reason": str(error)})
        notify("READY=1")


async def _open_engine(settings: Settings) -> Engine:
    from onggi.api.engineoptions import engine_options, set_proxies
    from onggi.engine.engine import Engine

    set_proxies(settings)
    return await Engine.open(engine_options(settings))


def _tls_files(settings: Settings) -> TlsFiles | None:
    """TLS is always with a check of the client; files default to dockerd's places."""
    if not settings.flag("tls") and not settings.flag("tlsverify"):
        return None
    home = os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")
    return TlsFiles(
        settings.text("tlscacert") or f"{home}/ca.pem",
        settings.text("tlscert") or f"{home}/cert.pem",
        settings.text("tlskey") or f"{home}/key.pem",
    )


def _guard(listener: Listener, settings: Settings) -> HostGuard | None:
    return None if listener.trusted else HostGuard(_host_names(settings), any_host=listener.tls is not None)


def _host_names(settings: Settings) -> frozenset[str]:
    """Names in -H tcp://NAME: requests may call the engine by them."""
    names = (
        host.removeprefix("tcp://").partition(":")[0] for host in settings.texts("host") if host.startswith("tcp://")
    )
    return frozenset(name for name in names if name and not name.startswith("["))


if __name__ == "__main__":
    sys.exit(main())
