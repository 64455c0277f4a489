"""Which repositories here stand for which of another registry. Pure.

`PREFIX=DOMAIN`: what is below PREFIX/ here is DOMAIN's; `=DOMAIN`: everything is. A client that says whose images it means
(`ns`, distribution-spec "Registry Proxying") needs no prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from onggi.errors import InvalidArgument
from onggi.oci.reference import Reference, parse_reference
from onggi.registry.names import Repository, parse_repository


@dataclass(frozen=True, slots=True)
class Upstream:
    """One registry that is mirrored below `prefix`, "" for all names."""

    prefix: str
    domain: str

    def here(self, name: str) -> Repository:
        """The name here of one that is `name` there."""
        return parse_repository(f"{self.prefix}/{name}" if self.prefix else name)

    def there(self, name: Repository, wanted: str) -> Reference:
        """`wanted`, a tag or digest, of what is `name` here. Raises InvalidArgument when it can't be a name there."""
        path = name.removeprefix(f"{self.prefix}/") if self.prefix else name
        return parse_reference(f"{self.domain}/{path}{'@' if ':' in wanted else ':'}{wanted}")


def parse_upstream(text: str) -> Upstream:
    """Raises InvalidArgument."""
    prefix, equals, domain = text.partition("=")
    if not equals or not domain or "/" in domain:
        raise InvalidArgument(f"invalid mirror {text!r}: want PREFIX=HOST, as hub=docker.io, or =HOST for all names")
    return Upstream(str(parse_repository(prefix)) if prefix else "", domain)


def choose(upstreams: Sequence[Upstream], name: Repository, namespace: str) -> tuple[Upstream, Repository] | None:
    """The upstream of a name, and the name under which it is kept here; None when it is nobody's but ours."""
    for upstream in upstreams:
        if namespace and namespace == upstream.domain:
            return upstream, upstream.here(name)
    for upstream in sorted(upstreams, key=lambda one: -len(one.prefix)):
        if not upstream.prefix or name.startswith(f"{upstream.prefix}/"):
            return upstream, name
    return None


class _Entry(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class _Config(msgspec.Struct):
    auths: dict[str, _Entry] = {}


def read_credentials(data: bytes) -> dict[str, _Entry]:
    """By domain, from a config.json as `docker login` writes it. Raises InvalidArgument."""
    try:
        entries = msgspec.json.decode(data, type=_Config).auths
    except (msgspec.DecodeError, UnicodeDecodeError):
        # No cause: the text of the error could quote a password.
        raise InvalidArgument('the credentials are no JSON of the form {"auths": {HOST: {"auth": …}}}') from None
    return {_domain(address): entry for address, entry in entries.items()}


def _domain(address: str) -> str:
    host = address.partition("://")[2] or address
    domain = host.partition("/")[0]
    return "docker.io" if domain == "index.docker.io" else domain
