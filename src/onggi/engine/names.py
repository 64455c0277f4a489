"""Names of containers: which are allowed, which are taken, and those that we make up."""

from __future__ import annotations

import re
import secrets

from onggi.errors import Conflict, InvalidArgument

ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)

_ADJECTIVES = (
    "able airy amber apt bold brave brisk calm clear clever cosy deft eager early earnest fair fast firm fond frank fresh gentle glad "
    "golden good grand green happy hardy honest humble keen kind light lively loyal lucid lucky mellow merry mild modest neat noble "
    "patient plain polite proud quick quiet rapid ready robust round sage serene sharp sleek smart solid sound spry steady still "
    "sturdy subtle sunny sweet swift tidy trim true upbeat vivid warm wise witty zesty"
).split()
_SURNAMES = (
    "ahn babbage bae banach bell borg boyle cauchy cha chae cho choi codd curie dahl darwin dirac do emin erdos euler faraday fermi "
    "galois gauss germain godel goo gu hahn ham han heo hertz hilbert hong hopper huygens hwang hypatia im jang jeon jeong ji jo joo "
    "kang kay kepler kim knuth ko koo kovalevskaya kwak kwon lamarr lamport lee liskov lovelace ma maxwell meitner min moon nam "
    "newton noether noh oh paik park pascal pike rhee ritchie ryu seo shannon shim shin sohn son song suh tesla thompson turing "
    "wirth woo yang yeo yi yoo yoon"
).split()


def check(name: str) -> str:
    """The name without docker's leading slash. Raises InvalidArgument."""
    bare = name.removeprefix("/")
    if not ALLOWED.fullmatch(bare):
        raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare


def taken(name: str, owner: str) -> Conflict:
    """Docker's answer to a name that is in use, which clients match."""
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


def invent(is_taken: dict[str, str]) -> str:
    """A name that nobody has: an adjective and a surname, with a digit when that pair is taken."""
    for attempt in range(1000):
        name = f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_SURNAMES)}" + (
            str(secrets.randbelow(10)) if attempt else ""
        )
        if name not in is_taken:
            return name
    return secrets.token_hex(8)
