"""create, and the first half of run: the container's configuration, its image, its id."""

from __future__ import annotations

import contextlib
import os
import sys

from onggi.cli.command import Exit, words_of
from onggi.cli.config_words import container_config
from onggi.cli.flags import UsageError
from onggi.cli.references import check
from onggi.client import containers, images
from onggi.client.errors import ApiError, ConnectionRefused, StreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Created, Json


@contextlib.contextmanager
def told_as(context: Context, command: str, code: int) -> Iterator[None]:
    """Errors of `run` and `create` in docker's frame: what happened, and where help is. Raises Exit."""
    see = f"\n\nRun '{context.program} {command} --help' for more information"
    try:
        yield
    except UsageError as error:
        raise Exit(125, f"{context.program}: {error}{see}") from None
    except (ApiError, ConnectionRefused, StreamError) as error:
        if command == "create" and not isinstance(error, StreamError):
            raise Exit(1, words_of(error)) from None
        raise Exit(start_code(str(error), code), f"{context.program}: {words_of(error)}{see}") from None


def start_code(text: str, otherwise: int = 125) -> int:
    """What docker's client makes of a failed start (E-261)."""
    lowered = text.lower()
    if any(
        part in lowered
        for part in ("executable file not found", "no such file or directory", "system cannot find the file")
    ):
        return 127
    if "permission denied" in lowered or "is a directory" in lowered:
        return 126
    return otherwise


def make(context: Context, options: Options, words: list[str], command: str) -> str:
    """The id of the new container; its image is pulled when it isn't here. Warnings go to stderr. Raises UsageError."""
    pull = options.text("pull")
    if pull not in ("", "always", "missing", "never"):
        raise UsageError(f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"')
    refuse_trust(options)
    image = words[0]
    body = container_config(options, image, words[1:], _proxies(context, options))
    try:
        return _made(context, options, body, image, pull)
    except Exit as error:
        if command == "run":
            raise UsageError(error.message) from None
        raise


def _made(context: Context, options: Options, body: Json, image: str, pull: str) -> str:
    check(image)
    secrets = _give_socket(context, body) if options.on("use-api-socket") else {}
    with _cid_file(options.text("cidfile")) as written:
        if pull == "always":
            _pull(context, image, options)
        made = _create(context, options, body, image, may_pull=pull in ("", "missing"))
        if secrets:
            _put_credentials(context, made["Id"], secrets)
        for warning in made.get("Warnings") or []:
            sys.stderr.write(f"WARNING: {warning}\n")
        written(made["Id"])
    return str(made["Id"])


def _create(context: Context, options: Options, body: Json, image: str, *, may_pull: bool) -> Created:
    call = containers.create(body, name=options.text("name") or None, platform=platform_of(options) or None)
    try:
        return context.engine(call)
    except ApiError as error:
        # Any "not found" is taken for the image: which image the engine misses isn't always in its words.
        if error.code != 404 or not may_pull:
            raise
    if not options.on("quiet"):
        sys.stderr.write(f"Unable to find image '{_with_tag(image)}' locally\n")
    _pull(context, image, options)
    return context.engine(call)


def refuse_trust(options: Options) -> None:
    """Who asks for signed images must not get unsigned ones in silence. Raises Exit."""
    wanted = os.environ.get("DOCKER_CONTENT_TRUST", "")
    if wanted in ("", "0", "false") or (
        "disable-content-trust" in options.given and options.on("disable-content-trust")
    ):
        return
    raise Exit(
        1,
        "DOCKER_CONTENT_TRUST is set, but signatures of docker content trust can't be checked here: "
        "unset it, or give --disable-content-trust, to go on without them",
    )


def platform_of(options: Options) -> str:
    return options.text("platform") or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")


def _proxies(context: Context, options: Options) -> list[str]:
    """Variables of the configuration's proxies that the user doesn't set."""
    named = {word.partition("=")[0] for word in options.list("env")}
    found = context.config.proxies(context.endpoint.text)
    return [f"{name}={value}" for name, value in sorted(found.items()) if name not in named]


@contextlib.contextmanager
def _cid_file(path: str) -> Iterator[Callable[[str], object]]:
    """Gives what writes the id. The file is there from the beginning, so that two can't have it; empty, it goes again."""
    if not path:
        yield len  # nothing to write to
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise Exit(
            1, f"container ID file found, make sure the other container isn't running or delete {path}"
        ) from None
    except OSError as error:
        raise Exit(
            1, f"failed to create the container ID file: open {path}: {(error.strerror or '').lower()}"
        ) from None
    with os.fdopen(fd, "w", encoding="ascii") as file:
        try:
            yield file.write
        finally:
            if not file.tell():
                os.unlink(path)


_CONFIG_IN_CONTAINER = "/run/secrets/docker/config.json"


def _give_socket(context: Context, body: Json) -> Json:
    """Binds the engine's socket into the container; the credentials to put beside it."""
    from onggi.cli.credentials import Credentials

    socket = {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/var/run/docker.sock", "BindOptions": {}}
    body["HostConfig"]["Mounts"] = [*(body["HostConfig"]["Mounts"] or []), socket]
    if any(word.startswith("DOCKER_CONFIG=") for word in body["Env"]):
        return {}
    known = Credentials(context.config).every()
    if known:
        body["Env"].append(f"DOCKER_CONFIG={os.path.dirname(_CONFIG_IN_CONTAINER)}")
    return known


def _put_credentials(context: Context, container: str, known: Json) -> None:
    import base64
    import io
    import json
    import tarfile

    def entry(one: Json) -> Json:
        if "identitytoken" in one:
            return {"identitytoken": one["identitytoken"]}
        return {"auth": base64.b64encode(f"{one.get('username', '')}:{one.get('password', '')}".encode()).decode()}

    data = json.dumps({"auths": {server: entry(one) for server, one in known.items()}}, indent="\t").encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(_CONFIG_IN_CONTAINER)
        member.size, member.mode = len(data), 0o600
        tar.addfile(member, io.BytesIO(data))
    context.engine(containers.archive_put(container, "/", packed.getvalue(), copy_ids=False))


def _with_tag(image: str) -> str:
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


def _pull(context: Context, image: str, options: Options) -> None:
    from onggi.cli import progress
    from onggi.cli.credentials import credentials_for
    from onggi.cli.references import split

    repository, tag = split(_with_tag(image))
    stream = images.pull(
        repository, tag, platform=platform_of(options) or None, auth=credentials_for(context, repository)
    )
    progress.show(context.engine.stream(stream), sys.stderr, quiet=options.on("quiet"))
