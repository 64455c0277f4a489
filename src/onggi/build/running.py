"""RUN: its command, its environment, its key."""

from __future__ import annotations

import codecs
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from onggi.build.cache import key_of
from onggi.build.errors import BuildFailed
from onggi.build.instructions import Run
from onggi.build.lines import Heredoc, heredoc_start
from onggi.build.options import BuildOptions
from onggi.build.runner import RunStep
from onggi.build.shellwords import Lexer
from onggi.errors import InvalidArgument
from onggi.oci.runtime import Mount
from onggi.store.layers import LayerInfo
from onggi.store.snapshots import Snapshot

if TYPE_CHECKING:
    from onggi.build.stages import StageBuild

_SCRIPTS = "/dev/pipes"
"""Where BuildKit puts the script of a heredoc that names its own interpreter."""


async def run_step(stage: StageBuild, instruction: Run) -> None:
    """Raises BuildFailed."""
    state, shared = stage.state, stage.shared
    command, script = _command(instruction, stage.shell)
    if not command:
        raise BuildFailed("No command specified")
    env = state.env
    args = {name: value for name, value in sorted(state.args.items()) if value is not None and name not in env}
    told = [f"{name}={value}" for name, value in args.items()]
    created_by = " ".join([f"|{len(told)}", *told, *command]) if told else " ".join(command)
    network = instruction.network if instruction.network not in ("", "default") else shared.options.network
    if instruction.network not in ("", "default", "none", "host"):
        raise InvalidArgument(f"unsupported network mode {instruction.network!r}")
    if instruction.network == "host" and shared.options.network != "host":
        raise BuildFailed("entitlement network.host is not allowed: build with --network=host")
    words = [*(state.config.env or ()), *told]
    key = _key(stage, command, script, words, network)
    proxies = [f"{name}={value}" for name, value in shared.arguments.proxies(state.args).items() if name not in env]

    async def make() -> LayerInfo | None:
        async with shared.layering.step(state.layers) as snapshot:
            short = snapshot.container_id[:12]
            stage.say.text(f" ---> Running in {short}\n")
            with _script_mounts(snapshot, script) as mounts:
                step = RunStep(
                    container_id=snapshot.container_id,
                    snapshot=snapshot,
                    args=tuple(command),
                    env=(*words, *proxies),
                    user=state.config.user,
                    cwd=state.config.working_dir or "/",
                    output=_Text(stage).feed,
                    network=network,
                    extra_hosts=shared.options.extra_hosts,
                    limits=shared.options.limits,
                    mounts=mounts,
                )
                layer = await shared.layering.run(step)
        if shared.options.remove_intermediate:
            stage.say.text(f" ---> Removed intermediate container {short}\n")
        return layer

    await stage.layer(key, created_by, make)


def _key(stage: StageBuild, command: list[str], script: Heredoc | None, env: list[str], network: str) -> str:
    """Hosts by name, not by address; no proxies, no resource limits: they are the machine's, not the step's."""
    options: BuildOptions = stage.shared.options
    config = stage.state.config
    return key_of(
        "run",
        stage.state.layers,
        tuple(command),
        script.text if script else "",
        tuple(sorted(env)),
        config.user,
        config.working_dir,
        network,
        tuple(host.partition(":")[0] for host in options.extra_hosts),
        options.limits.ulimits,
        options.limits.cgroup_parent,
        str(stage.state.platform),
    )


def _command(instruction: Run, shell: tuple[str, ...]) -> tuple[list[str], Heredoc | None]:
    """The words to run, and the heredoc that must be a file for it.

    A heredoc alone is the shell's command, or with `#!` a program; with anything around it the shell gets the whole text.
    """
    if instruction.is_json:
        return list(instruction.words), None
    if not instruction.words:
        return [], None
    text = instruction.words[0]
    if not instruction.heredocs:
        return [*shell, text], None
    first = instruction.heredocs[0]
    if len(instruction.heredocs) == 1 and _alone(text, first.name):
        if first.text.startswith("#!"):
            return [*shell, f"{_SCRIPTS}/{first.name}"], first
        return [*shell, first.text], None
    whole = text + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in instruction.heredocs)
    return [*shell, whole], None


def _alone(text: str, name: str) -> bool:
    words = Lexer(raw_quotes=True, raw_escapes=True, skip_unset=True).words(text, {})
    begun = heredoc_start(words[0]) if len(words) == 1 else None
    return begun is not None and begun[0] == name


@contextlib.contextmanager
def _script_mounts(snapshot: Snapshot, script: Heredoc | None) -> Iterator[tuple[Mount, ...]]:
    """The script as a file beside the step's directories, which go with it."""
    if script is None:
        yield ()
        return
    if "/" in script.name:
        raise InvalidArgument(f"a heredoc's name can't be a path: {script.name!r}")
    path = os.path.join(os.path.dirname(snapshot.upper), "script")
    with open(path, "wb") as file:
        file.write(script.text.encode("utf-8", "surrogateescape"))
        os.fchmod(file.fileno(), 0o755)
    yield (Mount(f"{_SCRIPTS}/{script.name}", "bind", path, ["bind", "ro", "rprivate"]),)


class _Text:
    """Bytes of a process as text, letters that are cut in two put together again."""

    def __init__(self, stage: StageBuild) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stage = stage

    def feed(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if text:
            self._stage.say.text(text)
