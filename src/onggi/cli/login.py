"""login, logout, and credentials for pull and push: ~/.docker/config.json, shared with docker.

Unknown keys survive a rewrite; the file is 0600 and replaced by rename. A password is never on the command line of another
program: helpers get it on stdin.
"""

from __future__ import annotations

import base64
import json
import os
import sys

from onggi.cli.main import Command, Exit
from onggi.cli.references import registry_of
from onggi.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.flags import Options
    from onggi.cli.main import Context
    from onggi.client.shapes import Json

HUB = "https://index.docker.io/v1/"


def config_path(context: Context) -> str:
    directory = context.config_dir or os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    return os.path.join(directory, "config.json")


def read_config(context: Context) -> Json:
    """Raises Exit when the file is no JSON object."""
    path = config_path(context)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Exit(1, f"WARNING: Error loading config file: {path}: {error}") from None
    return found if isinstance(found, dict) else {}


def write_config(context: Context, config: Json) -> None:
    path = os.path.realpath(config_path(context))
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(config, file, indent="\t")
    os.rename(temporary, path)


def _key(server: str) -> str:
    return HUB if server in ("", "docker.io", "index.docker.io", HUB) else server


def _helper(config: Json, server: str) -> str:
    return str((config.get("credHelpers") or {}).get(server) or config.get("credsStore") or "")


def _call_helper(name: str, action: str, text: str) -> Json:
    """docker-credential-NAME; {} when it knows nothing."""
    import subprocess

    done = subprocess.run(
        [f"docker-credential-{name}", action], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {}
    try:
        found = json.loads(done.stdout or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def credentials_for(context: Context, repository: str) -> Json:
    """What to send as X-Registry-Auth for `repository`; {} for nobody."""
    config = read_config(context)
    server = _key(registry_of(repository))
    helper = _helper(config, server)
    if helper:
        found = _call_helper(helper, "get", server)
        if found.get("Username") == "<token>":
            return {"identitytoken": found.get("Secret", ""), "serveraddress": server}
        if found:
            return {"username": found.get("Username", ""), "password": found.get("Secret", ""), "serveraddress": server}
    entry = (config.get("auths") or {}).get(server)
    if not isinstance(entry, dict):
        return {}
    if entry.get("identitytoken"):
        return {"identitytoken": entry["identitytoken"], "serveraddress": server}
    try:
        user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except ValueError:
        return {}
    return {"username": user, "password": password.rstrip("\0"), "serveraddress": server} if user else {}


def _login(context: Context, options: Options, words: list[str]) -> None:
    server = words[0].removeprefix("https://").removeprefix("http://").rstrip("/") if words else ""
    key = _key(server)
    if options.on("password-stdin"):
        if options.text("password"):
            raise Exit(1, "--password and --password-stdin are mutually exclusive")
        if not options.text("username"):
            raise Exit(1, "Must provide --username with --password-stdin")
        password = sys.stdin.read().rstrip("\r\n")
    else:
        password = options.text("password")
        if password:
            sys.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    user = options.text("username") or (input("Username: ") if sys.stdin.isatty() else "")
    if not password and sys.stdin.isatty():
        import getpass

        password = getpass.getpass("Password: ")
    if not user or not password:
        raise Exit(1, "Error: Cannot perform an interactive login from a non TTY device")
    answer = context.engine(images.login({"username": user, "password": password, "serveraddress": key}))
    config = read_config(context)
    helper = _helper(config, key)
    if helper:
        _call_helper(helper, "store", json.dumps({"ServerURL": key, "Username": user, "Secret": password}))
    else:
        token = answer.get("IdentityToken")
        entry = (
            {"identitytoken": token} if token else {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
        )
        config.setdefault("auths", {})[key] = entry
        write_config(context, config)
        sys.stderr.write(
            f"\nWARNING! Your credentials are stored unencrypted in '{config_path(context)}'.\nConfigure a credential helper to remove this warning.\n\n"
        )
    sys.stdout.write(f"{answer.get('Status') or 'Login Succeeded'}\n")


def _logout(context: Context, options: Options, words: list[str]) -> None:
    del options
    key = _key(words[0] if words else "")
    config = read_config(context)
    helper = _helper(config, key)
    known = key in (config.get("auths") or {})
    sys.stdout.write(f"Removing login credentials for {key}\n" if known or helper else f"Not logged in to {key}\n")
    if helper:
        _call_helper(helper, "erase", key)
    if known:
        del config["auths"][key]
        write_config(context, config)


COMMANDS = {
    "login": Command(
        _login, "[OPTIONS] [SERVER]", "Authenticate to a registry",
        """
-p --password string  Password or Personal Access Token (PAT)
   --password-stdin bool  Take the Password or Personal Access Token (PAT) from stdin
-u --username string  Username
""",
        most=1,
    ),
    "logout": Command(_logout, "[SERVER]", "Log out from a registry", most=1),
}  # fmt: skip
