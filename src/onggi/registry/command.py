"""`onggi-registry`: serve, and collect what is garbage.

Rights: none beyond reading and writing the root; it may run as any user.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from onggi.errors import InvalidArgument, OnggiError
from onggi.registry.access import Access
from onggi.registry.collector import DAY_S, collect
from onggi.registry.repositories import Repositories
from onggi.registry.server import Registry
from onggi.registry.uploads import Uploads
from onggi.registry.upstreams import parse_upstream, read_credentials

if TYPE_CHECKING:
    from onggi.images.challenge import RegistryAuth

log = logging.getLogger("onggi.registry")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.debug else logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        if options.command == "serve":
            asyncio.run(_serve(options))
        elif options.command == "scrub":
            return _scrub(options)
        else:
            _collect(options)
    except (OnggiError, OSError) as error:
        sys.stderr.write(f"onggi-registry: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="onggi-registry", description="A registry of container images.")
    parser.add_argument("--version", action="version", version=f"onggi-registry {version('onggi')}")
    parser.add_argument("--debug", action="store_true", help="log each request")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve until SIGTERM")
    serve.add_argument("--listen", default="127.0.0.1:5000", metavar="HOST:PORT", help="default %(default)s")
    serve.add_argument(
        "--htpasswd", metavar="FILE", help="users, one user:bcrypt-hash a line; read again when it changes"
    )
    serve.add_argument("--anonymous-pull", action="store_true", help="everybody may pull (needs --htpasswd to push)")
    serve.add_argument("--tls-cert", metavar="FILE")
    serve.add_argument("--tls-key", metavar="FILE")
    serve.add_argument("--tls-client-ca", metavar="FILE", help="ask clients for a certificate of this authority")
    serve.add_argument(
        "--immutable", action="append", default=[], metavar="PATTERN", help="tags that never move, as 'prod/*:v*'; may be repeated"
    )  # fmt: skip
    serve.add_argument(
        "--mirror", action="append", default=[], metavar="PREFIX=HOST",
        help="keep what is pulled of another registry below PREFIX/; =HOST: everything here is its",
    )  # fmt: skip
    serve.add_argument(
        "--mirror-credentials", metavar="FILE", help="a config.json of docker login, for those registries"
    )
    serve.add_argument(
        "--mirror-fresh",
        type=float,
        default=60,
        metavar="SECONDS",
        help="so long a tag isn't asked for again; default %(default)s",
    )
    collector = commands.add_parser("collect", help="delete what no manifest names; a server may run meanwhile")
    collector.add_argument("--grace", type=float, default=DAY_S, metavar="SECONDS", help="default a day")
    scrub = commands.add_parser("scrub", help="read every blob and name those whose bytes are damaged")
    for command in (serve, collector, scrub):
        command.add_argument("--root", required=True, metavar="DIR")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    host, port = parse_address(options.listen)
    if not options.htpasswd and not is_loopback(host):
        raise InvalidArgument(
            f"{options.listen} is open to others, and everybody could push: give --htpasswd FILE, or listen on 127.0.0.1"
        )
    registry = Registry(
        options.root, Access(options.htpasswd, anonymous_pull=options.anonymous_pull),
        upstreams=[parse_upstream(text) for text in options.mirror], credentials=_credentials(options.mirror_credentials), fresh_s=options.mirror_fresh,
        immutable=options.immutable,
    )  # fmt: skip
    tls = _tls(options)
    await registry.listen(host, port, tls)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _read_again, tls, options)
    log.info("serving %s on %s", options.root, options.listen)
    await stop.wait()
    await registry.close()


def _credentials(path: str | None) -> Mapping[str, RegistryAuth]:
    if path is None:
        return {}
    with open(path, "rb") as file:
        return read_credentials(file.read())


def _collect(options: argparse.Namespace) -> None:
    repositories = Repositories(options.root)
    blobs, uploads = collect(repositories, Uploads(options.root, repositories.content), grace_s=options.grace)
    sys.stdout.writelines(f"{digest}\n" for digest in blobs)
    sys.stderr.write(f"{len(blobs)} blobs and {uploads} uploads deleted\n")


def _scrub(options: argparse.Namespace) -> int:
    """1 if something is damaged: it is pushed again, or comes again through a mirror, once it is deleted."""
    content = Repositories(options.root).content
    count = damaged = 0
    for digest in content.walk():
        count += 1
        if not content.verify(digest):
            damaged += 1
            sys.stdout.write(f"{digest}\n")
    sys.stderr.write(f"{count} blobs read, {damaged} damaged\n")
    return 1 if damaged else 0


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[::1]:5000`, `:5000` (all addresses). Raises InvalidArgument."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"invalid address {text!r}: want HOST:PORT")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it: every address that the name has is on loopback."""
    if not host:
        return False
    addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.tls_cert, options.tls_key)
    if options.tls_client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(options.tls_client_ca)
    return context


def _read_again(tls: ssl.SSLContext | None, options: argparse.Namespace) -> None:
    """SIGHUP: a renewed certificate is shown to who connects from now on. One that can't be read leaves the one before."""
    if tls is None:
        return
    try:
        tls.load_cert_chain(options.tls_cert, options.tls_key)
        log.info("certificate is read again")
    except (OSError, ValueError) as error:
        log.error("certificate can't be read again: %s", error)


if __name__ == "__main__":
    sys.exit(main())
