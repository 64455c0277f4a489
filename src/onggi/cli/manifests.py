"""manifest: lists of images for several platforms, made here and pushed; the registry is asked, no engine."""

from __future__ import annotations

import base64
import json
import sys

from onggi.cli.command import Command, Exit
from onggi.cli.credentials import HUB, Credentials
from onggi.cli.manifeststore import ManifestStore, full, parts
from onggi.cli.registries import DOCKER_LIST, LISTS, OCI_MANIFEST, Registry, RegistryError, digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.client.shapes import Json

_PLATFORMS = {
    "darwin": ("386", "amd64", "arm", "arm64"), "dragonfly": ("amd64",), "freebsd": ("386", "amd64", "arm"),
    "linux": ("386", "amd64", "arm", "arm64", "ppc64le", "mips64", "mips64le", "riscv64", "s390x"), "netbsd": ("386", "amd64", "arm"),
    "openbsd": ("386", "amd64", "arm"), "plan9": ("386", "amd64"), "solaris": ("amd64",), "windows": ("386", "amd64", "arm64"),
}  # fmt: skip
"""Operating system → architectures that docker lets an entry have."""


def _store(context: Context) -> ManifestStore:
    return ManifestStore(context.config.directory)


def _registry(context: Context, name: str, options: Options) -> Registry:
    host = parts(name)[0]
    return Registry(
        host, Credentials(context.config).get(HUB if host == "docker.io" else host), insecure=options.on("insecure")
    )


def _fetched(registry: Registry, name: str) -> Json:
    """An image's manifest with its platform, as the store keeps it. Raises RegistryError, Exit."""
    _, repository, reference = parts(name)
    media_type, raw = registry.manifest(repository, reference)
    if media_type in LISTS:
        raise Exit(1, f"{name} is a manifest list")
    manifest = json.loads(raw)
    config = json.loads(registry.blob(repository, manifest["config"]["digest"]))
    platform = {
        key: config[key] for key in ("architecture", "os", "os.version", "os.features", "variant") if config.get(key)
    }
    descriptor = {"mediaType": media_type, "digest": digest_of(raw), "size": len(raw), "platform": platform}
    kind = "OCIManifest" if media_type == OCI_MANIFEST else "SchemaV2Manifest"
    return {"Ref": name, "Descriptor": descriptor, "Raw": base64.b64encode(raw).decode(), kind: manifest}


def _create(context: Context, options: Options, words: list[str]) -> None:
    try:
        target = full(words[0])
    except Exit as error:
        raise Exit(1, f"error parsing name for manifest list {words[0]}: {error.message}") from None
    store = _store(context)
    if store.list(target) is not None and not options.on("amend"):
        raise Exit(1, "refusing to amend an existing manifest list with no --amend flag")
    for word in words[1:]:
        name = full(word)
        known = store.get(target, name)
        entry = known if known and known.get("Raw") else _told(_registry(context, name, options), name)
        store.save(target, name, entry)
    sys.stdout.write(f"Created manifest list {target}\n")


def _told(registry: Registry, name: str) -> Json:
    """As _fetched, with docker's words for an image that the registry hasn't. Raises Exit."""
    try:
        return _fetched(registry, name)
    except RegistryError as error:
        if error.status == 404:
            raise Exit(1, f"no such manifest: {name}") from None
        raise


def _annotate(context: Context, options: Options, words: list[str]) -> None:
    store, target, name = _store(context), full(words[0]), full(words[1])
    entry = store.get(target, name)
    if entry is None:
        raise Exit(1, f"manifest for image {words[1]} does not exist in {words[0]}")
    platform = entry["Descriptor"].setdefault("platform", {})
    for flag, field in (("os", "os"), ("arch", "architecture"), ("variant", "variant"), ("os-version", "os.version")):
        if options.text(flag):
            platform[field] = options.text(flag)
    if options.list("os-features"):
        platform["os.features"] = list(dict.fromkeys([*platform.get("os.features", []), *options.list("os-features")]))
    if platform.get("architecture") not in _PLATFORMS.get(platform.get("os", ""), ()):
        raise Exit(
            1,
            f"manifest entry for image has unsupported os/arch combination: {options.text('os')}/{options.text('arch')}",
        )
    store.save(target, name, entry)


def _inspect(context: Context, options: Options, words: list[str]) -> None:
    store, verbose = _store(context), options.on("verbose")
    name = full(words[-1])
    if len(words) > 1:
        entry = store.get(full(words[0]), name)
        if entry is None:
            raise Exit(1, f"No such manifest: {name}")
        _print(entry, verbose=verbose)
        return
    entries = store.list(name)
    if entries is None:
        entries = _remote(context, options, name, verbose=verbose)
    if entries is not None:
        text = json.dumps(entries, indent="\t") if verbose else _list_text(name, entries)
        sys.stdout.write(text + "\n")


def _remote(context: Context, options: Options, name: str, *, verbose: bool) -> list[Json] | None:
    """The entries of a list in the registry; a single manifest is printed, and there is no list."""
    registry = _registry(context, name, options)
    host, repository, reference = parts(name)
    try:
        media_type, raw = registry.manifest(repository, reference)
    except RegistryError as error:
        if error.status == 404:
            raise Exit(1, f"no such manifest: {name}") from None
        raise
    if media_type not in LISTS:
        _print(_fetched(registry, name), verbose=verbose)
        return None
    found = []
    for one in json.loads(raw)["manifests"]:
        entry = _fetched(registry, f"{host}/{repository}@{one['digest']}")
        entry["Descriptor"]["platform"] = one.get("platform") or entry["Descriptor"]["platform"]
        found.append(entry)
    return found


def _print(entry: Json, *, verbose: bool) -> None:
    shown = entry if verbose else entry.get("OCIManifest") or entry["SchemaV2Manifest"]
    sys.stdout.write(json.dumps(shown, indent="\t") + "\n")


def _list_text(target: str, entries: list[Json]) -> str:
    """The list's own bytes, three spaces deep. Raises Exit when an entry can't be in it."""
    manifests = []
    for entry in entries:
        descriptor = entry["Descriptor"]
        platform = descriptor.get("platform") or {}
        if not platform.get("architecture") or not platform.get("os"):
            raise Exit(1, f"manifest {entry['Ref']} must have an OS and Architecture to be pushed to a registry")
        if parts(entry["Ref"])[0] != parts(target)[0]:
            hosts = f"{parts(entry['Ref'])[0]} != {parts(target)[0]}"
            raise Exit(1, f"cannot use source images from a different registry than the target image: {hosts}")
        manifests.append(
            {
                "mediaType": descriptor["mediaType"],
                "size": descriptor["size"],
                "digest": descriptor["digest"],
                "platform": platform,
            }
        )
    return json.dumps({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": manifests}, indent="   ")


def _push(context: Context, options: Options, words: list[str]) -> None:
    target, store = full(words[0]), _store(context)
    entries = store.list(target)
    if not entries:
        raise Exit(1, f"No such manifest: {target}" if entries is None else f"{target} not found")
    text = _list_text(target, entries)
    registry = _registry(context, target, options)
    _, repository, tag = parts(target)
    for entry in entries:
        _bring(registry, entry, repository)
    sys.stdout.write(registry.put_manifest(repository, tag, DOCKER_LIST, text.encode()) + "\n")
    if options.on("purge"):
        store.remove(target)


def _bring(registry: Registry, entry: Json, repository: str) -> None:
    """An image of another repository is made one of this: a list points at its own repository only."""
    host, source, _ = parts(entry["Ref"])
    if source == repository:
        return
    manifest = entry.get("OCIManifest") or entry["SchemaV2Manifest"]
    for blob in (manifest["config"], *manifest["layers"]):
        registry.mount(repository, blob["digest"], source)
    descriptor = entry["Descriptor"]
    data = base64.b64decode(entry["Raw"])
    digest = registry.put_manifest(repository, descriptor["digest"], descriptor["mediaType"], data)
    sys.stdout.write(f"Pushed ref {host}/{repository}@{descriptor['digest']} with digest: {digest}\n")


def _rm(context: Context, options: Options, words: list[str]) -> None:
    del options
    store, failed = _store(context), []
    for word in words:
        target = full(word)
        if store.list(target) is None:
            failed.append(f"No such manifest: {target}")
        else:
            store.remove(target)
    if failed:
        raise Exit(1, "\n".join(failed))


_INSECURE = "   --insecure bool  Let a registry without TLS do\n"
COMMANDS = {
    "annotate": Command(
        _annotate, "[OPTIONS] MANIFEST_LIST MANIFEST", "Say more of an image in a manifest list",
        """
   --arch string  Its architecture
   --os string  Its operating system
   --os-features strings  A feature that it wants of the operating system
   --os-version string  The version of the operating system that it wants
   --variant string  The variant of its architecture
""",
        least=2, most=2,
    ),
    "create": Command(
        _create, "MANIFEST_LIST MANIFEST [MANIFEST...]", "Begin a manifest list, to annotate and to push",
        "-a --amend bool  Add to a list that is there\n" + _INSECURE, least=2,
    ),
    "inspect": Command(
        _inspect, "[OPTIONS] [MANIFEST_LIST] MANIFEST", "Show a manifest or a manifest list",
        _INSECURE + "-v --verbose bool  Show platforms and layers, too", least=1, most=2,
    ),
    "push": Command(
        _push, "[OPTIONS] MANIFEST_LIST", "Push a manifest list to its repository",
        _INSECURE + "-p --purge bool  Forget the list once it is pushed", least=1, most=1,
    ),
    "rm": Command(_rm, "MANIFEST_LIST [MANIFEST_LIST...]", "Forget one or more manifest lists", least=1),
}  # fmt: skip
