"""msgspec without what `onggi-runtime` has no use for: a third of the time that importing it takes.

Its C part asks for the classes of uuid and decimal, and its package imports a JSON schema writer and readers of TOML and
YAML. No field of a runtime spec is of such a type. What stands here in their place is for this one program: it is
imported first of all there, and nowhere else. The version of msgspec is locked, and a test runs every command.
"""

from __future__ import annotations

import sys
from types import ModuleType


class _NotThere:
    """Stands for UUID, SafeUUID and Decimal: types that no value has."""

    unknown = None


def _stub(name: str, **names: object) -> None:
    if name not in sys.modules:
        module = ModuleType(name)
        module.__dict__.update(names)
        sys.modules[name] = module


def make_msgspec_lean() -> None:
    """Must come before the first import of msgspec."""
    sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]
    _stub("uuid", UUID=_NotThere, SafeUUID=_NotThere)
    _stub("decimal", Decimal=_NotThere)
    _stub("msgspec._json_schema", schema=None, schema_components=None)
    for name in ("inspect", "toml", "yaml"):
        _stub(f"msgspec.{name}")
