"""context: create, update, use, show, ls, inspect, rm, export, import."""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile

from onggi.cli.command import Command, Exit
from onggi.cli.contexts import TLS_FILES, ContextError, default_host
from onggi.cli.tables import Columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_NAME = "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"
_DEFAULT_TEXT = "Current DOCKER_HOST based configuration"


def _check_name(name: str) -> None:
    if not name:
        raise Exit(1, "context name cannot be empty")
    if name == "default":
        raise Exit(1, '"default" is a reserved context name')
    if not re.fullmatch(_NAME.strip("^$"), name):
        raise Exit(1, f'context name "{name}" is invalid, names are validated against regexp "{_NAME}"')


def _endpoint(words: dict[str, str], context: Context) -> tuple[Json, dict[str, bytes]]:
    """(docker endpoint, TLS files) of --docker host=…,ca=…. Raises Exit."""
    failed = "unable to create docker endpoint config"
    if "from" in words:
        meta = _meta(context, words["from"])
        paths = {} if words["from"] == "default" else context.contexts.tls(words["from"])
        return meta["Endpoints"]["docker"], {name: _read(path, failed) for name, path in paths.items()}
    for key in words:
        if key not in ("host", "skip-tls-verify", *TLS_FILES):
            raise Exit(1, f"{failed}: unrecognized config key: {key}")
    files = {name: _read(words[name], failed) for name in TLS_FILES if words.get(name)}
    skip = words.get("skip-tls-verify", "") in ("1", "t", "T", "true", "TRUE", "True")
    endpoint: Json = {"Host": words["host"]} if words.get("host") else {}
    if endpoint:
        _check_host(endpoint["Host"], failed)
    return endpoint | {"SkipTLSVerify": skip}, files


def _check_host(host: str, failed: str) -> None:
    from onggi.client.endpoint import Endpoint
    from onggi.client.errors import ConnectionRefused

    try:
        Endpoint(host if "://" in host else f"{host}://")
    except ConnectionRefused:
        raise Exit(
            1, f"{failed}: unable to apply docker endpoint options: unable to parse docker host `{host}`"
        ) from None


def _read(path: str, failed: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Exit(1, f"{failed}: open {path}: {(error.strerror or '').lower()}") from None


def _meta(context: Context, name: str) -> Json:
    """A context's meta.json; of `default` what it would be. Raises ContextError."""
    if name != "default":
        return context.contexts.read(name)
    endpoint = {"Host": default_host(context.host), "SkipTLSVerify": False}
    return {"Name": "default", "Metadata": {}, "Endpoints": {"docker": endpoint}}


def _create(context: Context, options: Options, words: list[str]) -> None:
    name, store = words[0], context.contexts
    _check_name(name)
    if store.exists(name):
        raise Exit(1, f'context "{name}" already exists')
    description = options.text("description")
    if options.text("from") or not options.list("docker"):
        source = options.text("from") or context.context_name
        meta = _meta(context, source)
        metadata = dict(meta.get("Metadata") or {})
        if not options.text("from"):
            metadata["Description"] = _DEFAULT_TEXT if source == "default" else metadata.get("Description", "")
        docker, files = _endpoint(options.map("docker") or {"from": source}, context)
    else:
        metadata = {}
        docker, files = _endpoint(options.map("docker"), context)
    if description:
        metadata["Description"] = description
    store.write({"Name": name, "Metadata": metadata, "Endpoints": {"docker": docker}})
    store.write_tls(name, files)
    sys.stdout.write(f"{name}\n")
    sys.stderr.write(f'Successfully created context "{name}"\n')


def _update(context: Context, options: Options, words: list[str]) -> None:
    name, store = words[0], context.contexts
    _check_name(name)
    meta = store.read(name)
    if options.text("description"):
        meta["Metadata"] = (meta.get("Metadata") or {}) | {"Description": options.text("description")}
    files = None
    if options.list("docker"):
        docker, files = _endpoint(options.map("docker"), context)
        meta["Endpoints"] = (meta.get("Endpoints") or {}) | {"docker": docker}
    store.write(meta)
    if files is not None:
        store.write_tls(name, files)
    sys.stdout.write(f"{name}\n")
    sys.stderr.write(f'Successfully updated context "{name}"\n')


def _use(context: Context, options: Options, words: list[str]) -> None:
    del options
    name, config = words[0], context.config
    if name != "default":
        _check_name(name)
        context.contexts.read(name)
    if config.text("currentContext") != ("" if name == "default" else name):
        config.settings.pop("currentContext", None)
        if name != "default":
            config.settings["currentContext"] = name
        config.save()
    sys.stdout.write(f"{name}\n")
    sys.stderr.write(f'Current context is now "{name}"\n')
    if name != "default" and os.environ.get("DOCKER_HOST"):
        sys.stderr.write(
            f'Warning: DOCKER_HOST environment variable overrides the active context. To use "{name}", either set the global '
            "--context flag, or unset DOCKER_HOST environment variable.\n"
        )


def _show(context: Context, options: Options, words: list[str]) -> None:
    del options, words
    sys.stdout.write(context.context_name + "\n")


def _ls(context: Context, options: Options, words: list[str]) -> None:
    del words
    current, store = context.context_name, context.contexts
    names = sorted(["default", *store.names()])
    if options.on("quiet"):
        sys.stdout.write("".join(f"{name}\n" for name in names))
        return
    rows = []
    for name in names:
        meta = _meta(context, name)
        description = _DEFAULT_TEXT if name == "default" else (meta.get("Metadata") or {}).get("Description", "")
        host = ((meta.get("Endpoints") or {}).get("docker") or {}).get("Host", "")
        rows.append(_row(name, description, host, current=name == current))
    if current not in names:
        try:
            store.read(current)
        except ContextError as error:
            rows.append(_row(current, "", "", current=True, error=str(error)))
    format = options.text("format")
    if format in ("", "table"):
        for row in rows:
            row["Name"] = f"{row['Name']} *" if row["Current"] else row["Name"]
            row["Description"] = _cut(str(row["Description"]), 60)
            row["Error"] = _cut(str(row["Error"]), 30)
    headers = {
        "Name": "NAME",
        "Description": "DESCRIPTION",
        "DockerEndpoint": "DOCKER ENDPOINT",
        "Error": "ERROR",
        "Current": "CURRENT",
    }
    Columns(headers, ["Name", "Description", "DockerEndpoint", "Error"], "*formatter.clientContextContext").print(
        rows, format
    )
    if current == "default" and os.environ.get("DOCKER_HOST"):
        sys.stderr.write(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global "
            "--context flag, or unset DOCKER_HOST environment variable.\n"
        )


def _row(name: str, description: str, host: str, *, current: bool, error: str = "") -> dict[str, object]:
    return {"Name": name, "Description": description, "DockerEndpoint": host, "Current": current, "Error": error}


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _inspect(context: Context, options: Options, words: list[str]) -> None:
    from onggi.cli.inspecting import inspect_each

    inspect_each([lambda name: _document(context, name)], words or [context.context_name], options.text("format"))


def _document(context: Context, name: str) -> Json:
    meta, store = _meta(context, name), context.contexts
    files = {} if name == "default" else store.tls(name)
    where = {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"}
    if name != "default":
        where = {"MetadataPath": store.meta_directory(name), "TLSPath": store.tls_directory(name)}
    material = {"docker": [f"{file}.pem" for file in TLS_FILES if file in files]} if files else {}
    return {
        "Name": name, "Metadata": meta.get("Metadata") or {}, "Endpoints": meta.get("Endpoints") or {}, "TLSMaterial": material,
        "Storage": where,
    }  # fmt: skip


def _rm(context: Context, options: Options, words: list[str]) -> None:
    store, failed = context.contexts, []
    for name in words:
        if name == "default":
            failed.append('context "default" cannot be removed')
        elif not store.exists(name):
            if not options.on("force"):
                failed.append(f'context "{name}" does not exist')
        elif name == context.config.text("currentContext") and not options.on("force"):
            failed.append(f'context "{name}" is in use, set -f flag to force remove')
        else:
            if name == context.config.text("currentContext"):
                context.config.settings.pop("currentContext")
                context.config.save()
            store.remove(name)
            sys.stdout.write(f"{name}\n")
    if failed:
        raise Exit(1, "\n".join(failed))


def _export(context: Context, options: Options, words: list[str]) -> None:
    del options
    name = words[0]
    _check_name(name)
    target = words[1] if len(words) > 1 else f"{name}.dockercontext"
    data = _packed(context, name)
    if target == "-":
        if sys.stdout.isatty():
            raise Exit(1, "cowardly refusing to export to a terminal, specify a file path")
        sys.stdout.buffer.write(data)
        return
    try:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Exit(1, f"open {target}: file exists") from None
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    sys.stderr.write(f'Written file "{target}"\n')


def _packed(context: Context, name: str) -> bytes:
    """A tar: meta.json, and tls/docker/*.pem."""
    import json

    out = io.BytesIO()
    meta = context.contexts.read(name)
    with tarfile.open(fileobj=out, mode="w") as tar:
        files = {"meta.json": json.dumps(meta, separators=(",", ":"), ensure_ascii=False).encode()}
        for file, path in context.contexts.tls(name).items():
            with open(path, "rb") as opened:
                files[f"tls/docker/{file}.pem"] = opened.read()
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o644 if path == "meta.json" else 0o600
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


_MOST = 10 << 20
"""A context that is larger than this is none."""


def _import(context: Context, options: Options, words: list[str]) -> None:
    del options
    import json

    name, store = words[0], context.contexts
    _check_name(name)
    if store.exists(name):
        raise Exit(1, f'context "{name}" already exists')
    try:
        if words[1] == "-":
            data = sys.stdin.buffer.read(_MOST + 1)
        else:
            with open(words[1], "rb") as file:
                data = file.read(_MOST + 1)
    except OSError as error:
        raise Exit(1, f"open {words[1]}: {(error.strerror or '').lower()}") from None
    if len(data) > _MOST:
        raise Exit(1, "read exceeds the defined limit")
    files = _unpacked(data)
    if "meta.json" not in files:
        raise Exit(1, "invalid context: no metadata found")
    meta = json.loads(files["meta.json"])
    store.write(meta | {"Name": name})
    found = {file: files[f"tls/docker/{file}.pem"] for file in TLS_FILES if f"tls/docker/{file}.pem" in files}
    store.write_tls(name, found)
    sys.stdout.write(f"{name}\n")
    sys.stderr.write(f'Successfully imported context "{name}"\n')


def _unpacked(data: bytes) -> dict[str, bytes]:
    """Path → bytes of the archive's plain files; nothing is written, so no path of a stranger's matters."""
    found = {}
    if data.startswith(b"PK"):
        import zipfile

        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {one.filename: archive.read(one) for one in archive.infolist() if one.file_size <= _MOST}
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isreg() and entry.size <= _MOST else None
                if content:
                    found[entry.name] = content.read()
    except tarfile.TarError as error:
        raise Exit(1, f"invalid context: {error}") from None
    return found


_DOCKER = '   --description string  Description of the context\n   --docker stringToString  Docker endpoint: "host=,ca=,cert=,key=,skip-tls-verify="\n'
COMMANDS = {
    "create": Command(
        _create, "[OPTIONS] CONTEXT", "Create a context", _DOCKER + "   --from string  Begin with another context's settings",
        least=1, most=1,
    ),
    "export": Command(_export, "[OPTIONS] CONTEXT [FILE|-]", "Export a context to a tar archive FILE or a tar stream on STDOUT", least=1, most=2),
    "import": Command(_import, "CONTEXT FILE|-", "Import a context from a tar or zip file", least=2, most=2),
    "inspect": Command(
        _inspect, "[OPTIONS] [CONTEXT] [CONTEXT...]", "Show one or more contexts in detail",
        "-f --format string  Format output with a Go template, or json",
    ),
    "ls": Command(
        _ls, "[OPTIONS]", "List contexts",
        "   --format string  Format output with a Go template, or table or json\n-q --quiet bool  Only show context names", most=0,
    ),
    "rm": Command(_rm, "CONTEXT [CONTEXT...]", "Remove one or more contexts", "-f --force bool  Even the one in use", least=1),
    "show": Command(_show, "", "Print the name of the current context", most=0),
    "update": Command(_update, "[OPTIONS] CONTEXT", "Update a context", _DOCKER, least=1, most=1),
    "use": Command(_use, "CONTEXT", "Set the current docker context", least=1, most=1),
}  # fmt: skip
