"""What a command is, and what it works with: its words and flags, the settings and the engine, how it fails.

main.py finds the command and runs it; what each one does is in the files that commands.py names.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.cli.configfile import ConfigFile
    from onggi.cli.contexts import Store
    from onggi.cli.flags import Options
    from onggi.client.endpoint import Endpoint, Tls
    from onggi.client.sync import Client

GLOBAL_FLAGS = """
   --config string  Directory of the client's configuration files
-c --context string  Context to use for this command, in place of DOCKER_HOST and of the one set with "context use"
-D --debug bool  Print what happens on the way
-H --host list  Engine to talk to
-l --log-level string=info  Least level of messages ("debug", "info", "warn", "error", "fatal")
   --tls bool  Use TLS; implied by --tlsverify
   --tlscacert string  Trust certificates signed by this authority only
   --tlscert string  TLS certificate of the client
   --tlskey string  TLS key of the client
   --tlsverify bool  Use TLS and verify the engine
-v --version bool  Print the version and quit
"""


class Exit(Exception):
    """Ends the program with `code`; `message` goes to stderr."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Command:
    """One command: `run(context, options, words)`. `most` -1 is any number of words."""

    def __init__(
        self,
        run: Callable[[Context, Options, list[str]], None],
        usage: str,
        help: str,
        flags: str = "",
        *,
        least: int = 0,
        most: int = -1,
        interspersed: bool = True,
        hidden: bool = False,
    ) -> None:
        self.run, self.usage, self.help, self.flags = run, usage, help, flags
        self.least, self.most, self.interspersed, self.hidden = least, most, interspersed, hidden

    def usage_line(self, call: str) -> str:
        """The usage behind `call`; a second form of it stands on a line of its own."""
        return f"{call} {self.usage}".rstrip().replace("{program}", call.partition(" ")[0])


def load(where: str) -> Command:
    """The command at "module:name"; its module is imported now."""
    import importlib

    module, _, function = where.partition(":")
    command: Command = importlib.import_module(f"onggi.cli.{module}").COMMANDS[function]
    return command


class Context:
    """What a command works with: settings, the engine, and the program's own name; each made when it is asked for first."""

    def __init__(self, program: str, options: Options | None = None, raw: list[str] | None = None) -> None:
        self.program, self._options, self.global_words = program, options, raw or []
        self._config: ConfigFile | None = None
        self._endpoint: Endpoint | None = None
        self._client: Client | None = None

    def _global(self, name: str) -> str:
        return self._options.text(name) if self._options else ""

    def switched(self, name: str) -> bool:
        return bool(self._options and self._options.on(name))

    @property
    def host(self) -> str:
        """--host. Raises Exit when it was given twice."""
        hosts = self._options.list("host") if self._options else []
        if len(hosts) > 1:
            raise Exit(1, "Specify only one -H")
        return hosts[0] if hosts else ""

    @property
    def config(self) -> ConfigFile:
        if self._config is None:
            from onggi.cli.configfile import ConfigFile

            self._config = ConfigFile(self._global("config"))
        return self._config

    @property
    def contexts(self) -> Store:
        from onggi.cli.contexts import Store

        return Store(self.config.directory)

    @property
    def context_name(self) -> str:
        from onggi.cli.contexts import current

        return current(self.config, self.host, self._global("context"))

    def _tls(self) -> Tls | None:
        """What --tls, --tlsverify and --tlscacert … say; None when none of them was given."""
        verify = self.switched("tlsverify")
        if not verify and not self.switched("tls"):
            return None
        import os

        from onggi.client.endpoint import Tls

        directory = os.environ.get("DOCKER_CERT_PATH") or self.config.directory
        files = Tls.of_directory(directory, verify=verify)
        return Tls(
            self._global("tlscacert") or files.ca, self._global("tlscert") or files.cert, self._global("tlskey") or files.key,
            verify=verify,
        )  # fmt: skip

    @property
    def endpoint(self) -> Endpoint:
        """Raises ContextError, ConnectionRefused."""
        if self._endpoint is None:
            from onggi.cli.contexts import endpoint_of

            self._endpoint = endpoint_of(self.contexts, self.context_name, self.host, self._tls())
        return self._endpoint

    @property
    def engine(self) -> Client:
        if self._client is None:
            self._client = self.connect()
        return self._client

    def connect(self) -> Client:
        """A connection of its own, for work beside the first one."""
        import os

        from onggi.client.sync import Client

        version = self._client.version if self._client else os.environ.get("DOCKER_API_VERSION", "").removeprefix("v")
        return Client(self.endpoint, version=version, headers=self.config.headers())


def words_of(error: Exception) -> str:
    """Docker's form of an engine's error."""
    from onggi.client.errors import ApiError

    return f"Error response from daemon: {error}" if isinstance(error, ApiError) else str(error)


def each(words: list[str], action: Callable[[str], None], *, echo: bool = True, tail: str = "") -> None:
    """`action` on each name; a name that worked is echoed, errors are said at the end, all are tried. Exit code 1 if any failed.

    `tail` is what docker says after the errors; {} in it are the names that failed.
    """
    from onggi.errors import OnggiError

    failed: dict[str, str] = {}
    for word in words:
        try:
            action(word)
        except OnggiError as error:
            failed[word] = words_of(error)
        else:
            if echo:
                sys.stdout.write(word + "\n")
                sys.stdout.flush()
    if failed:
        raise Exit(1, "\n".join([*failed.values(), *([tail.format(", ".join(failed))] if tail else [])]))
