"""Filters that several lists share: labels, names. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from onggi.errors import InvalidArgument

if TYPE_CHECKING:
    from onggi.api.query import Filters


def label_test(filters: Filters) -> Callable[[Mapping[str, str]], bool]:
    """All of `label` must be there (`key` or `key=value`), none of `label!`."""
    wanted = [text.partition("=") for text in filters.get("label", [])]
    unwanted = [text.partition("=") for text in filters.get("label!", [])]

    def has(labels: Mapping[str, str], key: str, equals: str, value: str) -> bool:
        return key in labels and (not equals or labels[key] == value)

    def test(labels: Mapping[str, str]) -> bool:
        return all(has(labels, *each) for each in wanted) and not any(has(labels, *each) for each in unwanted)

    return test


def name_test(values: list[str]) -> Callable[[str], bool]:
    """A name that one of the values is part of, or matches as an expression (as dockerd's filters.Match)."""
    if not values:
        return lambda _name: True
    expressions = []
    for value in values:
        try:
            expressions.append(re.compile(value))
        except re.error:
            expressions.append(re.compile(re.escape(value)))
    return lambda name: any(expression.search(name) for expression in expressions)


def only_flag(filters: Filters, name: str) -> bool | None:
    """The value of a filter that is true or false, None without it. Raises InvalidArgument for more than one."""
    values = filters.get(name, [])
    if len(values) > 1:
        raise InvalidArgument(f"invalid filter '{name}=[{' '.join(values)}]'")
    return flag_of(name, values[0]) if values else None


def flag_of(name: str, value: str) -> bool:
    """A filter's value that is true or false. Raises InvalidArgument."""
    if value.lower() not in ("1", "0", "true", "false", "t", "f"):
        raise InvalidArgument(f"invalid filter '{name}={value}'")
    return value.lower() in ("1", "true", "t")
