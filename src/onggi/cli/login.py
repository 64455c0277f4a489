"""login and logout: credentials in config.json, or with a helper where one is configured; both shared with docker."""

from __future__ import annotations

import sys

from onggi.cli.command import Command, Exit
from onggi.cli.credentials import HUB, Credentials
from onggi.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json


def _server(words: list[str]) -> str:
    """The name that credentials are kept under: a host; Hub's is the address that docker has always written."""
    if not words or words[0] in ("docker.io", "index.docker.io", HUB):
        return HUB
    return words[0].removeprefix("https://").removeprefix("http://").partition("/")[0]


def _login(context: Context, options: Options, words: list[str]) -> None:
    server, store = _server(words), Credentials(context.config)
    user, password = _asked_for(options)
    kept: Json = {}
    if not user and not password:
        kept = store.get(server)
    if kept:
        sys.stderr.write(
            f"Authenticating with existing credentials... [Username: {kept.get('username', '')}]\n\n"
            " Info -> To login with a different account, run 'docker logout' followed by 'docker login'\n\n\n"
        )
        login = kept
    else:
        user, password = _prompted(options, user, password)
        login = {"username": user, "password": password, "serveraddress": server}
    answer = context.engine(images.login(login))
    if not kept:
        token = answer.get("IdentityToken") or ""
        if store.store(server, user, password, token):
            sys.stderr.write(
                f"\nWARNING! Your credentials are stored unencrypted in '{context.config.path}'.\n"
                "Configure a credential helper to remove this warning. See\n"
                "https://docs.docker.com/go/credential-store/\n\n"
            )
    sys.stdout.write(f"{answer.get('Status') or 'Login Succeeded'}\n")


def _asked_for(options: Options) -> tuple[str, str]:
    """(user, password) of the flags. Raises Exit for flags that don't go together."""
    if options.text("password"):
        sys.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
        if options.on("password-stdin"):
            raise Exit(1, "--password and --password-stdin are mutually exclusive")
    for name in ("username", "password"):
        if name in options.given and not options.text(name):
            raise Exit(1, f"{name} is empty")
    if not options.on("password-stdin"):
        return options.text("username"), options.text("password")
    if not options.text("username"):
        raise Exit(1, "the --password-stdin option requires --username to be set")
    password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not password:
        raise Exit(1, "password is empty")
    return options.text("username"), password


def _prompted(options: Options, user: str, password: str) -> tuple[str, str]:
    """What is missing, from the terminal. Raises Exit without one."""
    if (not user or not password) and not sys.stdin.isatty():
        raise Exit(1, "Error: Cannot perform an interactive login from a non TTY device")
    del options
    user = user or input("Username: ").strip()
    if not user:
        raise Exit(1, "Error: Non-null Username Required")
    if not password:
        import getpass

        password = getpass.getpass("Password: ")
    if not password:
        raise Exit(1, "Error: Password Required")
    return user, password


def _logout(context: Context, options: Options, words: list[str]) -> None:
    del options
    server, store = _server(words), Credentials(context.config)
    names = [server] if server == HUB else [server, f"https://{server}", f"http://{server}"]
    sys.stdout.write(f"Removing login credentials for {server}\n")
    for name in names:
        if store.knows(name):
            store.erase(name)


COMMANDS = {
    "login": Command(
        _login, "[OPTIONS] [SERVER]", "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
        """
-p --password string  Password or Personal Access Token (PAT)
   --password-stdin bool  Take the Password or Personal Access Token (PAT) from stdin
-u --username string  Username
""",
        most=1,
    ),
    "logout": Command(_logout, "[SERVER]", "Log out from a registry.\nIf no server is specified, the default is defined by the daemon.", most=1),
}  # fmt: skip
