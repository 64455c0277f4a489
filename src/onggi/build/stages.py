"""One stage from FROM to its last instruction: what each one changes, what it is called in the output and in history.

Instructions that change no file cost nothing but a row of the cache, which is there for the time that stands in history: a build
that finds everything gives the same image again.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from onggi.build import gowords, ports
from onggi.build.arguments import GlobalArguments
from onggi.build.cache import BuildCache, key_of
from onggi.build.context import Context
from onggi.build.copyjob import CopyArgs
from onggi.build.dockerfile import Stage
from onggi.build.errors import BuildFailed, DockerfileError
from onggi.build.fetching import Fetcher
from onggi.build.instructions import (
    Arg,
    Cmd,
    CommandLine,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from onggi.build.layering import Layering, copy_failure
from onggi.build.options import BuildOptions
from onggi.build.output import StageOutput
from onggi.build.parse import parse_trigger
from onggi.build.priorimages import PriorImages, PriorStep
from onggi.build.running import run_step
from onggi.build.shellwords import Lexer
from onggi.build.signals import check_signal
from onggi.build.sources import Sources, from_context, from_tree
from onggi.build.state import StageState, now_text
from onggi.errors import InvalidArgument, NoSpace, OnggiError, Unavailable
from onggi.ignore import clean
from onggi.oci.digest import Digest
from onggi.store.layers import LayerInfo
from onggi.store.snapshots import Snapshot

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(slots=True)
class Shared:
    """What all stages of one build have in common. `origin` gives the layers that a `--from` means."""

    options: BuildOptions
    context: Context
    fetcher: Fetcher
    arguments: GlobalArguments
    cache: BuildCache
    layering: Layering
    prior: PriorImages
    hold: Callable[[Digest], None]
    origin: Callable[[Stage, str], Awaitable[Sequence[Digest]]]


class StageBuild:
    """Builds one stage; `say` is told of it."""

    def __init__(self, shared: Shared, stage: Stage, state: StageState, say: StageOutput, escape: str) -> None:
        self.shared = shared
        self.stage = stage
        self.state = state
        self.say = say
        self.lexer = Lexer(escape)
        self._escape = escape

    async def begin(self) -> None:
        """After FROM: a PATH where there is none, and the triggers of the base."""
        config = self.state.config
        if not any(word.startswith("PATH=") for word in config.env or ()):
            self.state = self.state.with_config(env=[*(config.env or ()), DEFAULT_PATH])
        triggers = config.on_build or []
        self.state = replace(self.state.with_config(on_build=None), has_command=False)
        if triggers:
            self.say.text(f"# Executing {len(triggers)} build trigger{'s' if len(triggers) > 1 else ''}\n")
        for trigger in triggers:
            await self.carry_out(parse_trigger(trigger, self._escape))

    async def carry_out(self, instruction: Instruction) -> None:
        """Raises BuildFailed, DockerfileError. Cancelled: what the step has made is gone, what was before stays."""
        try:
            await self._dispatch(instruction)
        except (BuildFailed, DockerfileError, NoSpace, Unavailable):
            raise
        except InvalidArgument as error:
            raise BuildFailed(str(error)) from error
        except UnicodeEncodeError as error:
            raise BuildFailed(f"line {instruction.line}: the heredoc has bytes that are not UTF-8") from error

    async def _dispatch(self, instruction: Instruction) -> None:
        match instruction:
            case Run():
                await run_step(self, instruction)
            case Copy():
                await self._copy(instruction)
            case Workdir():
                await self._workdir(instruction)
            case Arg():
                self._arg(instruction)
            case Env():
                pairs = self._pairs(instruction.pairs)
                self.state = self.state.with_env(pairs)
                self._note("ENV " + " ".join(f"{name}={value}" for name, value in pairs))
            case Label():
                pairs = list(instruction.pairs) if instruction.literal else self._pairs(instruction.pairs)
                self.state = self.state.with_config(labels={**(self.state.config.labels or {}), **dict(pairs)})
                self._note("LABEL " + " ".join(f"{name}={value}" for name, value in pairs))
            case Cmd() | Entrypoint():
                self._command(instruction)
            case _:
                self._setting(instruction)

    def _setting(self, instruction: Instruction) -> None:
        """Instructions that set one field of the config."""
        state = self.state
        config = state.config
        match instruction:
            case Expose(ports=words):
                expanded = [each for word in words for each in self.lexer.words(word, state.variables())]
                found: dict[str, dict[str, object]] = {port: {} for word in expanded for port in ports.exposed(word)}
                merged = {**(config.exposed_ports or {}), **found}
                self.state = state.with_config(exposed_ports=dict(sorted(merged.items())))
                self._note("EXPOSE " + " ".join(sorted(expanded)))
            case User(user=user):
                user = self.word(user)
                self.state = state.with_config(user=user)
                self._note(f"USER {user}")
            case Volume(paths=paths):
                expanded = [self.word(path) for path in paths]
                if "" in expanded:
                    raise InvalidArgument("VOLUME specified can not be an empty string")
                self.state = state.with_config(volumes={**(config.volumes or {}), **{path: {} for path in expanded}})
                self._note(f"VOLUME {gowords.plain(expanded)}")
            case StopSignal(signal=name):
                name = self.word(name)
                check_signal(name)
                self.state = state.with_config(stop_signal=name)
                self._note(f"STOPSIGNAL {name}")
            case Healthcheck(health=health):
                self.state = state.with_config(healthcheck=health)
                self._note(f"HEALTHCHECK {gowords.health(health)}")
            case Shell(words=words):
                self.state = state.with_config(shell=list(words))
                self._note(f"SHELL {gowords.plain(words)}")
            case Maintainer(author=author):
                self.state = replace(state, author=author)
                self._note(f"MAINTAINER {author}")
            case OnBuild(expression=expression):
                self.state = state.with_config(on_build=[*(config.on_build or ()), expression])
                self._note(f"ONBUILD {expression}")
            case _:
                raise AssertionError(type(instruction).__name__)

    def word(self, text: str) -> str:
        """With its variables replaced. Raises InvalidArgument."""
        return self.lexer.word(text, self.state.variables())

    @property
    def shell(self) -> tuple[str, ...]:
        return tuple(self.state.config.shell or DEFAULT_SHELL)

    def _pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """All of one instruction see the values from before it."""
        variables = self.state.variables()
        found = [(self.lexer.word(name, variables), self.lexer.word(value, variables)) for name, value in pairs]
        if any(not name for name, _ in found):
            raise InvalidArgument("names can not be blank")
        return found

    def _arg(self, instruction: Arg) -> None:
        words = []
        args = dict(self.state.args)
        for name, default in instruction.args:
            variables = {**{n: v for n, v in args.items() if v is not None}, **self.state.env}
            value = self.shared.arguments.stage_value(name, default, self.lexer, variables)
            args[name] = value
            words.append(name if default is None else f"{name}={self.lexer.word(default, variables)}")
        self.state = replace(self.state, args=args)
        self._note("ARG " + " ".join(words))

    def _command(self, instruction: CommandLine) -> None:
        words = list(instruction.words) if instruction.is_json else [*self.shell, *instruction.words]
        if not instruction.is_json and not instruction.words:
            words = []
        if isinstance(instruction, Cmd):
            self.state = replace(self.state.with_config(cmd=words or None), has_command=True)
            self._note(f"CMD {gowords.quoted(words)}")
            return
        # An ENTRYPOINT makes nothing of the base's CMD, which was meant for another one.
        cmd = self.state.config.cmd if self.state.has_command else None
        self.state = self.state.with_config(entrypoint=words or None, cmd=cmd)
        self._note(f"ENTRYPOINT {gowords.quoted(words)}")

    def _note(self, comment: str) -> None:
        """A step that changes no file: `#(nop)` in history, as docker's classic builder writes it."""
        created_by = f"{' '.join(self.shell)} #(nop)  {comment}"
        key = key_of("note", self.state.image_id, created_by, self.state.author, self._config_key())
        row = None if self.shared.options.no_cache else self.shared.cache.find(key)
        created = row.created if row else now_text()
        self.state = self.state.committed(created_by, created, None)
        if row is None:
            self.shared.cache.add(key, created, created_by, "", 0)
        else:
            self.say.text(" ---> Using cache\n")

    def _config_key(self) -> bytes:
        return msgspec.json.encode(self.state.config)

    # Steps that make layers

    async def layer(
        self,
        key: str,
        created_by: str,
        make: Callable[[], Awaitable[LayerInfo | None]],
        by_content: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """The layer of a step: from the cache, from an image of `cachefrom`, or made now and remembered.

        `by_content` gives a second key, which costs reading what the step reads: asked for when the first isn't known.
        """
        shared = self.shared
        keys = [key]
        if not shared.options.no_cache:
            known = self._known(key) or self._prior(created_by)
            if known is None and by_content is not None:
                keys.append(await by_content())
                known = self._known(keys[-1])
            if known is not None:
                self.say.text(" ---> Using cache\n")
                self._commit(created_by, known.created, known.diff_id)
                self._remember(keys, created_by, known)
                return
        made = await make()
        step = PriorStep(now_text(), made.diff_id if made else None)
        self._commit(created_by, step.created, step.diff_id)
        self._remember(keys, created_by, step)

    def _known(self, key: str) -> PriorStep | None:
        row = self.shared.cache.find(key)
        return None if row is None else PriorStep(row.created, Digest(row.diff_id) if row.diff_id else None)

    def _prior(self, created_by: str) -> PriorStep | None:
        return self.shared.prior.find(self.state, created_by)

    def _remember(self, keys: list[str], created_by: str, step: PriorStep) -> None:
        """A step under each of its keys that isn't known yet."""
        size = self.shared.layering.layers.size(step.diff_id) if step.diff_id else 0
        for key in keys:
            if self.shared.options.no_cache or not self.shared.cache.has(key):
                self.shared.cache.add(key, step.created, created_by, step.diff_id or "", size)

    def _commit(self, created_by: str, created: str, diff_id: Digest | None) -> None:
        if diff_id is not None:
            self.shared.hold(diff_id)
        self.state = self.state.committed(created_by, created, diff_id)

    async def _copy(self, instruction: Copy) -> None:
        if instruction.keep_git_dir:
            raise InvalidArgument("--keep-git-dir is for git repositories, which are not supported here")
        paths = [self.word(path) for path in instruction.sources]
        written = self.word(instruction.destination)
        destination = self._destination(written)
        chown, chmod = self.word(instruction.chown), self.word(instruction.chmod)
        sources = await self._sources(instruction, paths)
        several = len(sources.items) > 1
        if several and not destination.endswith("/"):
            raise InvalidArgument(
                f"When using {instruction.word} with more than one source file, the destination must be a directory and end with a /"
            )
        flags = f"--chown={chown} " if chown else ""
        created_by = f"{' '.join(self.shell)} #(nop) {instruction.word} {flags}{sources.described} in {written} "
        # A linked layer is by itself: whoever it belongs to must be known without the layers below.
        alone = instruction.link and chown.replace(":", "").isdigit() | (not chown)
        below = () if alone else self.state.layers
        how = (
            instruction.add, destination, chown, chmod, instruction.parents, instruction.exclude, instruction.unpack, alone,
        )  # fmt: skip
        key = key_of("copy", below, sources.digest, *how)

        def arguments(snapshot: Snapshot | None) -> CopyArgs:
            return CopyArgs(
                # Without the stubs that containers get: what isn't in the image isn't there.
                lower=snapshot.lower[:-1] if snapshot else [],
                upper=snapshot.upper if snapshot else "",
                work=snapshot.work if snapshot else "",
                destination=destination,
                sources=sources.items,
                source_lower=[self.shared.layering.layers.path(diff) for diff in reversed(sources.layers)],
                chown=chown,
                chmod=chmod,
                parents=instruction.parents,
                exclude=list(instruction.exclude),
            )

        async def make() -> LayerInfo:
            with _told_as(instruction.word):
                async with self.shared.layering.step(below) as snapshot:
                    return await self.shared.layering.copy(snapshot, arguments(snapshot), self.shared.context.spool)

        async def by_content() -> str:
            with _told_as(instruction.word):
                content = await self.shared.layering.digest_sources(arguments(None))
            return key_of("copy by content", below, content, *how)

        await self.layer(key, created_by, make, by_content if sources.layers else None)

    async def _sources(self, instruction: Copy, paths: Sequence[str]) -> Sources:
        if instruction.origin:
            layers = await self.shared.origin(self.stage, instruction.origin)
            if not layers:
                raise BuildFailed(f"COPY failed: stat {paths[0] if paths else ''}: file does not exist")
            return from_tree(paths, layers)
        plain = replace_quotes(self.lexer)
        variables = self.state.variables()
        bodies = [
            (heredoc.name, plain.word(heredoc.text, variables) if heredoc.expand else heredoc.text)
            for heredoc in instruction.heredocs
        ]
        return await from_context(instruction, paths, bodies, self.shared.context, self.shared.fetcher)

    def _destination(self, text: str) -> str:
        """Absolute and clean; a slash at its end, which says that it is a directory, stays."""
        joined = posixpath.join(self.state.config.working_dir or "/", text)
        path = clean(joined if joined.startswith("/") else f"/{joined}")
        is_directory = text in ("", ".") or text.endswith(("/", "/."))
        return f"{path}/" if is_directory and path != "/" else path

    async def _workdir(self, instruction: Workdir) -> None:
        text = self.word(instruction.path)
        if not text:
            raise InvalidArgument("cannot normalize nothing")
        path = clean(posixpath.join("/", self.state.config.working_dir or "/", text))
        self.state = self.state.with_config(working_dir=path)
        created_by = f"{' '.join(self.shell)} #(nop) WORKDIR {path}"
        layers = self.state.layers

        async def make() -> LayerInfo | None:
            async with self.shared.layering.step(layers) as snapshot:
                args = CopyArgs(snapshot.lower[:-1], snapshot.upper, snapshot.work, path, [])
                try:
                    return await self.shared.layering.make_directory(snapshot, args)
                except (InvalidArgument, NotADirectoryError) as error:
                    raise BuildFailed(f"Cannot mkdir: {path} is not a directory") from error

        await self.layer(key_of("workdir", layers, path), created_by, make)


@contextlib.contextmanager
def _told_as(word: str) -> Iterator[None]:
    """What a copying job raises becomes the step's failure; a full or broken disk stays what it is."""
    try:
        yield
    except (BuildFailed, NoSpace, Unavailable):
        raise
    except (OnggiError, OSError) as error:
        raise copy_failure(word, error) from error


def replace_quotes(lexer: Lexer) -> Lexer:
    """For the body of a heredoc: quotes are text there, variables and escapes aren't."""
    return replace(lexer, skip_quotes=True)
