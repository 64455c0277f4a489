"""The graph: which stages a target needs, and what each of them waits for. Pure."""

from __future__ import annotations

from onggi.build.dockerfile import Dockerfile, Stage
from onggi.build.instructions import Copy
from onggi.build.shellwords import Lexer
from onggi.errors import InvalidArgument


def base_name(stage: Stage, lexer: Lexer, variables: dict[str, str]) -> str:
    """What FROM names, variables replaced. Raises InvalidArgument."""
    name = lexer.word(stage.start.base, variables)
    if not name:
        raise InvalidArgument(f"base name ({stage.start.base}) should not be blank")
    return name


def needed_stages(dockerfile: Dockerfile, target: Stage, bases: dict[int, str]) -> dict[int, set[int]]:
    """Stages that `target` is made of → stages that each of them reads. `bases` are the names after FROM.

    A stage reads only earlier ones, so the graph has no circle. Names that are no stage are images.
    """
    found: dict[int, set[int]] = {}
    waiting = [target]
    while waiting:
        stage = waiting.pop()
        if stage.number in found:
            continue
        names = [bases[stage.number]]
        names += [each.origin for each in stage.instructions if isinstance(each, Copy) and each.origin]
        read = [other for name in names if (other := dockerfile.find(name, stage.number)) is not None]
        found[stage.number] = {other.number for other in read}
        waiting += read
    return dict(sorted(found.items()))
