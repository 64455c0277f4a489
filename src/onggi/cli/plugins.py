"""Programs that add a command: docker-compose, docker-buildx … as docker's client finds and runs them.

A plugin answers `docker-cli-plugin-metadata` with JSON; it is run with its own name as the first word and gets the global
flags before it (docker/cli, cli-plugins/manager).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.configfile import ConfigFile
    from onggi.client.shapes import Json

_SYSTEM = ("/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins",
           "/usr/libexec/docker/cli-plugins")  # fmt: skip
_METADATA = "docker-cli-plugin-metadata"
_NAME = re.compile("[a-z][a-z0-9]*")
_BAKE = """ERROR: docker bake requires the buildx component but it is missing or broken.
       Install the buildx component to use bake:
       https://docs.docker.com/go/buildx/"""


def directories(config: ConfigFile) -> list[str]:
    """Where plugins are looked for, the first place first."""
    return [*config.words("cliPluginsExtraDirs"), os.path.join(config.directory, "cli-plugins"), *_SYSTEM]


def find(config: ConfigFile, name: str) -> str:
    """The program of a plugin; empty when there is none."""
    if not _NAME.fullmatch(name):
        return ""
    for directory in directories(config):
        path = os.path.join(directory, f"docker-{name}")
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return ""


def every(config: ConfigFile) -> dict[str, str]:
    """Name → program, of all that are there."""
    found: dict[str, str] = {}
    for directory in directories(config):
        for entry in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
            name = entry.removeprefix("docker-")
            if entry.startswith("docker-") and _NAME.fullmatch(name) and name not in found:
                found[name] = os.path.join(directory, entry)
    return found


def metadata(path: str) -> Json:
    """What a plugin says of itself; {} when it is none."""
    try:
        done = subprocess.run([path, _METADATA], capture_output=True, check=False, timeout=10)
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return found if isinstance(found, dict) and found.get("SchemaVersion") == "0.1.0" else {}


def buildx_is_wanted(config: ConfigFile) -> bool | None:
    """What DOCKER_BUILDKIT, or else the `buildkit` feature of the configuration, says of it; None when neither says anything.

    Raises Exit for a DOCKER_BUILDKIT that is no boolean.
    """
    from onggi.cli.command import Exit
    from onggi.cli.kinds import read

    said = os.environ.get("DOCKER_BUILDKIT") or str(config.group("features").get("buildkit") or "")
    try:
        return bool(read("bool", said)) if said else None
    except ValueError as error:
        raise Exit(1, f"DOCKER_BUILDKIT environment variable expects boolean value: {error}") from None


def builder_alias(config: ConfigFile) -> str:
    """The plugin that the configuration's aliases put in the place of `builder`; empty when they don't.

    `docker buildx install` writes it. Raises Exit for another alias: docker allows this one alone, and to plugins only.
    """
    from onggi.cli.command import Exit
    from onggi.cli.commands import GROUPS, TOP

    for name, target in config.group("aliases").items():
        if name != "builder":
            raise Exit(
                1, f'not allowed to alias "{name}" (allowed: map[string]struct {{}}{{"builder":struct {{}}{{}}}})'
            )
        if str(target).split(" ")[0] in {*GROUPS, *TOP}:
            raise Exit(1, f'not allowed to alias with builtin "{target}" as target')
    return str(config.group("aliases").get("builder", ""))


def run_plugin(context: Context, name: str, words: list[str], **more: str) -> int | None:  # noqa: RET503 - execve doesn't return
    """Becomes the plugin called `name`; None when there is none. `bake` is one of buildx's commands; `more` goes into its environment."""
    target = "buildx" if name == "bake" else name
    path = find(context.config, target)
    if not path or not metadata(path):
        if name == "bake":
            sys.stderr.write(_BAKE + "\n")
            return 1
        return None
    sys.stdout.flush()
    again = [path, *context.global_words, target, *([name] if name != target else []), *words]
    # Plugins that call the main program back find it here (docker/cli, metadata.ReexecEnvvar).
    environment = os.environ | {"DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND": os.path.realpath(sys.argv[0])} | more
    if context.context_name == "default" and not context.host and not os.environ.get("DOCKER_HOST"):
        # A plugin's own default is docker's socket; it has to speak with the engine that we do.
        environment["DOCKER_HOST"] = context.endpoint.text
    os.execve(path, again, environment)  # noqa: S606 - the program that the user asked for takes our place


def built_elsewhere(context: Context, words: list[str], *, unknown: bool) -> int | None:
    """Hands a build to buildx where a setting asks for it, or where a flag is `unknown` here; None when it is ours to do."""
    alias = builder_alias(context.config)
    wanted = buildx_is_wanted(context.config)
    if wanted is not False and alias:
        return run_plugin(context, alias, ["build", *words])
    if wanted or (unknown and wanted is None):
        # What is built here is looked for here: in the engine's own builder, not in one that `buildx use` has chosen.
        chosen = os.environ.get("BUILDX_BUILDER") or any(word.partition("=")[0] == "--builder" for word in words)
        return run_plugin(
            context, "buildx", ["build", *words], **({} if chosen else {"BUILDX_BUILDER": context.context_name})
        )
    return None
