"""JSON bodies into structs, the way Go's decoder reads them.

Names match without regard to case, unknown ones are ignored, `null` leaves the default where a field can't be null.
Both are decided from the struct's type, once for each type. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from msgspec import inspect

from onggi.errors import InvalidArgument

T = TypeVar("T")
Fold = Callable[[object], object]

_folds: Final[dict[type, Fold]] = {}
_decode_any: Final = msgspec.json.Decoder().decode


def decode_body(data: bytes, wanted: type[T]) -> T:
    """`data` as a `wanted`. Raises InvalidArgument: no JSON, more behind it, or a value of another type."""
    if not data.strip():
        raise InvalidArgument("invalid JSON: got EOF while reading request body")
    try:
        value = _decode_any(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # What clients of dockerd know from Go's decoder.
        text = "unexpected EOF" if str(error) == "Input data was truncated" else error
        raise InvalidArgument(f"invalid JSON: {text}") from None
    if value is None:
        raise InvalidArgument("invalid JSON: got null where an object is wanted")
    try:
        return msgspec.convert(_folder(wanted)(value), wanted, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidArgument(f"invalid JSON: {error}") from None


def _folder(wanted: type) -> Fold:
    fold = _folds.get(wanted)
    if fold is None:
        fold = _folds[wanted] = _fold_of(inspect.type_info(wanted), {})
    return fold


def _fold_of(info: inspect.Type, open_structs: dict[type, list[Fold]]) -> Fold:
    """The function that makes a decoded value of this type readable for msgspec."""
    if isinstance(info, inspect.StructType):
        return _struct_fold(info, open_structs)
    if isinstance(info, inspect.DictType):
        return _dict_fold(info, open_structs)
    if isinstance(info, inspect.ListType):
        return _list_fold(info, open_structs)
    if isinstance(info, inspect.UnionType):
        return _union_fold(info, open_structs)
    return _same


def _same(value: object) -> object:
    return value


def _struct_fold(info: inspect.StructType, open_structs: dict[type, list[Fold]]) -> Fold:
    if info.cls in open_structs:  # a type that holds itself: looked up when it is called
        folds = open_structs[info.cls]
        return lambda value: folds[0](value)  # noqa: PLW0108
    folds = open_structs[info.cls] = []
    fields: dict[str, tuple[str, Fold, bool]] = {}
    for item in info.fields:
        entry = (item.encode_name, _fold_of(item.type, open_structs), _takes_null(item.type))
        fields[item.encode_name] = entry
        fields.setdefault(item.encode_name.lower(), entry)

    def fold(value: object) -> object:
        if not isinstance(value, dict):
            return value
        folded: dict[str, object] = {}
        for key, inner in value.items():
            entry = fields.get(key) or fields.get(key.lower())
            if entry is None or (inner is None and not entry[2]):
                continue
            folded[entry[0]] = entry[1](inner)
        return folded

    folds.append(fold)
    return fold


def _dict_fold(info: inspect.DictType, open_structs: dict[type, list[Fold]]) -> Fold:
    inner, zero = _fold_of(info.value_type, open_structs), _zero_of(info.value_type)

    def fold(value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: zero() if item is None and zero else inner(item) for key, item in value.items()}

    return fold


def _list_fold(info: inspect.ListType, open_structs: dict[type, list[Fold]]) -> Fold:
    inner, zero = _fold_of(info.item_type, open_structs), _zero_of(info.item_type)
    if inner is _same and zero is None:
        return _same

    def fold(value: object) -> object:
        if not isinstance(value, list):
            return value
        return [zero() if item is None and zero else inner(item) for item in value]

    return fold


def _union_fold(info: inspect.UnionType, open_structs: dict[type, list[Fold]]) -> Fold:
    of_object = [kind for kind in info.types if isinstance(kind, inspect.StructType | inspect.DictType)]
    of_list = [kind for kind in info.types if isinstance(kind, inspect.ListType)]
    for_object = _fold_of(of_object[0], open_structs) if of_object else _same
    for_list = _fold_of(of_list[0], open_structs) if of_list else _same
    if for_object is _same and for_list is _same:
        return _same

    def fold(value: object) -> object:
        if isinstance(value, dict):
            return for_object(value)
        return for_list(value) if isinstance(value, list) else value

    return fold


def _takes_null(info: inspect.Type) -> bool:
    if isinstance(info, inspect.UnionType):
        return any(isinstance(kind, inspect.NoneType) for kind in info.types)
    return isinstance(info, inspect.NoneType | inspect.AnyType | inspect.RawType)


def _zero_of(info: inspect.Type) -> Callable[[], object] | None:
    """What Go leaves for `null` inside a list or map; None when null itself is fine."""
    if _takes_null(info):
        return None
    if isinstance(info, inspect.StructType | inspect.DictType):
        return dict
    if isinstance(info, inspect.ListType):
        return list
    for kind, zero in ((inspect.StrType, str), (inspect.BoolType, bool), (inspect.IntType, int)):
        if isinstance(info, kind):
            return zero
    return None
