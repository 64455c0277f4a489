"""One stage from FROM to its last instruction: what each one does to the config, and the steps that make layers. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from onggi.build import gowords, ports, stepwords
from onggi.build.checks import Rule, check_legacy, check_missing, check_port, check_secret
from onggi.build.errors import BuildFailed
from onggi.build.fetching import is_remote
from onggi.build.gitwords import is_git
from onggi.build.instructions import (
    Arg,
    Cmd,
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
from onggi.build.modes import check_mode
from onggi.build.plan import SCRATCH, CopyStepPlan, DirectoryStepPlan, Kind, Origin, PlannedStage, RunStepPlan, Step
from onggi.build.runmounts import RunMount, parse_device, parse_mount
from onggi.build.shellwords import Lexer
from onggi.build.signals import check_signal
from onggi.build.state import NOT_IN_ENVIRONMENT, StageState
from onggi.errors import InvalidArgument
from onggi.ignore import clean

if TYPE_CHECKING:
    from onggi.build.dockerfile import Stage
    from onggi.build.planning import Namer, Planning

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL: Final = ("/bin/sh", "-c")


class StagePlanner:
    """Plans one stage; `follow` collects what it reads of local directories."""

    def __init__(
        self, planning: Planning, stage: Stage, made: PlannedStage, namer: Namer, follow: dict[str, list[str]]
    ) -> None:
        self._planning, self._stage, self._made, self._namer, self._follow = planning, stage, made, namer, follow
        self._checker = planning.checker
        self._lexer = planning.lexer
        self._triggered = False
        options = planning.options
        names = {stage.name, made.name} - {""}
        self._fresh = options.no_cache or bool(names & {name.lower() for name in options.no_cache_filter})

    @property
    def state(self) -> StageState:
        return self._made.state

    @state.setter
    def state(self, state: StageState) -> None:
        self._made.state = state

    def run(self) -> None:
        """Raises BuildFailed, DockerfileError, with the place."""
        if "PATH" not in self.state.environment or not any(
            word.startswith("PATH=") for word in self.state.config.env or ()
        ):
            self.state = self.state.with_env([("PATH", DEFAULT_PATH)])
        for instruction in self._planning.graph.triggers.get(self._stage.number, ()):
            self._triggered = True
            self._carry_out(instruction)
        self._triggered = False
        for instruction in self._stage.instructions:
            self._carry_out(instruction)

    def _carry_out(self, instruction: Instruction) -> None:
        try:
            step = self._dispatch(instruction)
        except (BuildFailed, InvalidArgument) as error:
            raise self._planning.locate(error, instruction) from error
        except UnicodeEncodeError as error:
            failed = BuildFailed(f"line {instruction.line}: the heredoc has bytes that are not UTF-8")
            raise self._planning.locate(failed, instruction) from error
        self._made.lines.append((instruction.text, step))

    def _dispatch(self, instruction: Instruction) -> Step | None:
        match instruction:
            case Run():
                step: Step = self._run(instruction)
            case Copy():
                step = self._copy(instruction)
            case Workdir():
                found = self._workdir(instruction)
                if found is None:
                    return None
                step = found
            case _:
                self._set(instruction)
                return None
        self._made.steps.append(step)
        return step

    # Words

    def word(self, text: str, at: Instruction, lexer: Lexer | None = None) -> str:
        """With its variables replaced; a name that nothing has set is a finding. Raises InvalidArgument."""
        missing: set[str] = set()
        try:
            return (lexer or self._lexer).expand(text, self.state.environment, missing).text
        finally:
            self._missing(missing, at)

    def _missing(self, names: Iterable[str], at: Instruction) -> None:
        unknown = set(names) - self.state.arg_names - NOT_IN_ENVIRONMENT
        if unknown:
            check_missing(self._checker, at, unknown, self.state.environment, base=False)

    def _pairs(self, pairs: Sequence[tuple[str, str]], at: Instruction) -> list[tuple[str, str]]:
        """All of one instruction see the values from before it."""
        found = [(self.word(name, at), self.word(value, at)) for name, value in pairs]
        if any(not name for name, _ in found):
            raise InvalidArgument(f"{at.spelt.upper()} names can not be blank")
        return found

    def _named(
        self, at: Instruction, told: str = "", variables: Mapping[str, str] | None = None, *, run: bool = False
    ) -> str:
        """The vertex's name: the instruction (or what is `told` instead) with its variables replaced."""
        words = told or at.text
        lexer = replace(self._lexer, raw_quotes=run, skip_unset=run)
        try:
            text = lexer.word(words, self.state.environment if variables is None else variables)
        except InvalidArgument:
            text = words
        first, blank, rest = text.partition(" ")
        return self._namer.name(f"{first.upper()}{blank}{rest}", self.state, triggered=self._triggered)

    @property
    def _shell(self) -> tuple[str, ...]:
        return tuple(self.state.config.shell or DEFAULT_SHELL)

    # Instructions that change the config alone

    def _set(self, instruction: Instruction) -> None:
        match instruction:
            case Arg():
                self._arg(instruction)
            case Env():
                self._env(instruction)
            case Label():
                self._label(instruction)
            case Cmd() | Entrypoint():
                self._command(instruction)
            case Expose():
                self._expose(instruction)
            case Healthcheck():
                self._once(instruction, "HEALTHCHECK")
                self.state = self.state.with_config(healthcheck=instruction.health)
                self._note(f"HEALTHCHECK {gowords.health(instruction.health)}")
            case _:
                self._set_one(instruction)

    def _set_one(self, instruction: Instruction) -> None:
        """Instructions that set one field."""
        config = self.state.config
        match instruction:
            case User(user=user):
                user = self.word(user, instruction)
                self.state = self.state.with_config(user=user)
                self._note(f"USER {user}")
            case Volume(paths=paths):
                expanded = [self.word(path, instruction) for path in paths]
                if "" in expanded:
                    raise InvalidArgument("VOLUME specified can not be an empty string")
                volumes = {**(config.volumes or {}), **{path: {} for path in expanded}}
                self.state = self.state.with_config(volumes=volumes)
                self._note(f"VOLUME {gowords.plain(expanded)}")
            case StopSignal(signal=name):
                name = self.word(name, instruction)
                check_signal(name)
                self.state = self.state.with_config(stop_signal=name)
                self._note(f"STOPSIGNAL {name}")
            case Shell(words=words):
                self.state = self.state.with_config(shell=list(words))
                self._note(f"SHELL {gowords.plain(words)}")
            case Maintainer(author=author):
                self.state = replace(self.state, author=author)
                self._note(f"MAINTAINER {author}")
            case OnBuild(expression=expression):
                # BuildKit's history says nothing of it.
                self.state = self.state.with_config(on_build=[*(config.on_build or ()), expression])
            case _:
                raise AssertionError(type(instruction).__name__)

    def _note(self, created_by: str) -> None:
        self.state = self.state.noted(created_by)

    def _once(self, instruction: Instruction, word: str) -> None:
        """Of several only the last counts: the one before is told."""
        before = self.state.set_here.get(word)
        if before:
            earlier = Instruction(text="", line=before, last=before)
            text = f"Multiple {word} instructions should not be used in the same stage because only the last one will be used"
            self._checker.run(Rule.MultipleInstructionsDisallowed, earlier, text)
        self.state = replace(self.state, set_here={**self.state.set_here, word: instruction.line})

    def _arg(self, instruction: Arg) -> None:
        """History has the values too: scanners read them there, and so does who wonders why a step was made anew."""
        told: list[str] = []
        for name, default in instruction.args:
            check_secret(self._checker, instruction, "ARG", name)
            if default is not None and self._planning.arguments.given.get(name) is None:
                self._missing(self._lexer.expand(default, self.state.environment).missing, instruction)
            value = self._planning.arguments.stage_value(name, default, self._lexer, self.state.environment)
            self.state = self.state.with_arg(name, value)
            told.append(name if value is None else f"{name}={value}")
        self._note(f"ARG {' '.join(told)}")

    def _env(self, instruction: Env) -> None:
        pairs = self._pairs(instruction.pairs, instruction)
        for name, _ in pairs:
            if instruction.legacy:
                check_legacy(self._checker, instruction, "ENV")
            check_secret(self._checker, instruction, "ENV", name)
        self.state = self.state.with_env(pairs)
        self._note("ENV " + " ".join(f"{name}={value}" for name, value in pairs))

    def _label(self, instruction: Label) -> None:
        pairs = self._pairs(instruction.pairs, instruction)
        if instruction.legacy:
            check_legacy(self._checker, instruction, "LABEL")
        self.state = self.state.with_config(labels={**(self.state.config.labels or {}), **dict(pairs)})
        self._note("LABEL " + " ".join(f"{name}={value}" for name, value in pairs))

    def _command(self, instruction: Cmd | Entrypoint) -> None:
        word = "CMD" if isinstance(instruction, Cmd) else "ENTRYPOINT"
        has_command = "CMD" in self.state.set_here
        self._once(instruction, word)
        words = list(instruction.words)
        if not instruction.is_json:
            if not self.state.config.shell:
                text = f"JSON arguments recommended for {word} to prevent unintended behavior related to OS signals"
                self._checker.run(Rule.JSONArgsRecommended, instruction, text)
            words = [*self._shell, " ".join(words)]
        if isinstance(instruction, Cmd):
            self.state = self.state.with_config(cmd=words, args_escaped=True)
        else:
            # An ENTRYPOINT makes nothing of the base's CMD, which was meant for another one.
            cmd = self.state.config.cmd if has_command else None
            self.state = self.state.with_config(entrypoint=words, cmd=cmd)
        self._note(f"{word} {gowords.quoted(words)}")

    def _expose(self, instruction: Expose) -> None:
        words: list[str] = []
        for word in instruction.ports:
            expansion = self._lexer.expand(word, self.state.environment)
            self._missing(expansion.missing, instruction)
            words += expansion.words
        found: list[str] = []
        for word in words:
            found += ports.exposed(word)
            check_port(self._checker, instruction, word)
        merged = {**(self.state.config.exposed_ports or {}), **{port: {} for port in found}}
        self.state = self.state.with_config(exposed_ports=dict(sorted(merged.items())))
        self._note(f"EXPOSE {gowords.plain(found)}")

    # Instructions that make layers

    def _workdir(self, instruction: Workdir) -> DirectoryStepPlan | None:
        text = self.word(instruction.path, instruction)
        if not self.state.has_workdir and not text.startswith("/"):
            told = f'Relative workdir "{text}" can have unexpected results if the base image changes'
            self._checker.run(Rule.WorkdirRelativePath, instruction, told)
        path = clean(posixpath.join("/", self.state.config.working_dir or "/", text))
        self.state = replace(self.state.with_config(working_dir=path), has_workdir=True)
        step = None
        if path != "/":
            step = DirectoryStepPlan(
                name=self._named(instruction), at=instruction, fresh=self._fresh, path=path, user=self.state.config.user
            )
        self.state = self.state.noted(f"WORKDIR {path}", layer=step is not None)
        return step

    def _run(self, instruction: Run) -> RunStepPlan:
        command, script = stepwords.command_of(instruction, self._shell)
        mounts = [self._mount(text, instruction) for text in instruction.mounts]
        masked = {mount.env: "****" for mount, _ in mounts if mount.kind == "secret" and mount.env}
        told = instruction.text
        if instruction.heredocs and stepwords.is_alone(instruction):
            told += f" ({stepwords.summary(instruction.heredocs[0].content)})"
        name = self._named(instruction, told, {**self.state.environment, **masked}, run=True)
        options = self._planning.options
        given = instruction.network
        network = given if given and given != "default" else options.network
        insecure = instruction.security == "insecure"
        stepwords.check_entitlements(instruction, network, options.entitlements)
        state = self.state
        self.state = state.noted(f"RUN {state.told_args()}{' '.join(command)} # buildkit", layer=True)
        return RunStepPlan(
            name=name,
            at=instruction,
            fresh=self._fresh,
            command=tuple(command),
            environment=tuple(f"{name}={value}" for name, value in state.environment.items()),
            proxies=self._planning.arguments.proxies(state.environment),
            user=state.config.user,
            directory=state.config.working_dir or "/",
            script=script,
            mounts=tuple(mounts),
            network=network,
            insecure=insecure,
            devices=tuple(parse_device(text) for text in instruction.devices),
            platform=state.platform,
        )

    def _mount(self, text: str, at: Instruction) -> tuple[RunMount, Origin]:
        mount = parse_mount(text, lambda value: self.word(value, at))
        stepwords.complete(mount, self.state.config.working_dir or "/", self._planning.options.cache_namespace)
        if mount.kind not in ("bind", "cache"):
            return mount, SCRATCH
        if mount.origin:
            origin = self._source(mount.origin, mount=True)
        elif mount.kind == "bind":
            origin = self._main()
        else:
            origin = SCRATCH
        self._reads(origin, [mount.source or "/"])
        return mount, origin

    def _source(self, name: str, *, mount: bool = False) -> Origin:
        return self._planning.graph.source(name, self._stage, self.state.platform, mount=mount)

    def _main(self) -> Origin:
        """The build's own context."""
        return self._planning.main

    def _reads(self, origin: Origin, paths: Iterable[str]) -> None:
        if origin.kind is Kind.LOCAL:
            self._follow.setdefault(origin.name, []).extend(paths)

    def _copy(self, instruction: Copy) -> CopyStepPlan:
        written = self.word(instruction.destination, instruction)
        sources = tuple(self.word(path, instruction) for path in instruction.sources)
        plain = replace(Lexer(), skip_quotes=True)
        bodies = tuple(
            (heredoc.name, self.word(heredoc.text, instruction, plain) if heredoc.expand else heredoc.text)
            for heredoc in instruction.heredocs
        )
        chown, chmod = self.word(instruction.chown, instruction), self.word(instruction.chmod, instruction)
        if chmod:
            check_mode(chmod)
        stepwords.check_sources(instruction, sources)
        origin = self._source(instruction.origin) if instruction.origin else self._main()
        if not instruction.origin:
            local = [path for path in sources if not (is_remote(path) or (instruction.add and is_git(path)))]
            self._check_ignored(instruction, local)
            self._reads(origin, [stepwords.followed(path) if instruction.parents else path for path in local])
        name = self._named(instruction)
        told = "".join(f" {word}" for word in stepwords.told(instruction, chown, chmod, sources, written))
        self.state = self.state.noted(f"{instruction.word}{told} # buildkit", layer=True)
        return CopyStepPlan(
            name=name,
            at=instruction,
            fresh=self._fresh,
            copy=instruction,
            sources=sources,
            bodies=bodies,
            destination=stepwords.destination(written, self.state.config.working_dir or "/"),
            chown=chown,
            chmod=chmod,
            exclude=tuple(self.word(pattern, instruction) for pattern in instruction.exclude),
            origin=origin,
        )

    def _check_ignored(self, instruction: Copy, sources: Sequence[str]) -> None:
        """Only where the ignore file takes nothing back: what it then says is certain."""
        rules = self._planning.ignore
        if rules is None or rules.has_exceptions:
            return
        for source in sources:
            path = clean(source).lstrip("/") or "."
            if path == "." and not rules.ignores_everything:
                continue
            if path == "." or rules.ignores(path):
                word = "Add" if instruction.add else "Copy"
                text = f'Attempting to {word} file "{path}" that is excluded by .dockerignore'
                self._checker.run(Rule.CopyIgnoredFile, instruction, text)
