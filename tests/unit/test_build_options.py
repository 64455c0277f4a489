"""The query of POST /build: docker's own rules for booleans, numbers and lists."""

from __future__ import annotations

import pytest

from onggi.build.options import options_from_query
from onggi.errors import InvalidArgument


@pytest.mark.row("F-225")
@pytest.mark.row("F-226")
@pytest.mark.row("F-229")
@pytest.mark.row("F-231")
@pytest.mark.row("F-232")
@pytest.mark.row("F-233")
@pytest.mark.row("F-234")
def test_every_word_of_the_query_is_understood() -> None:
    options = options_from_query(
        {
            "t": ["a", "b:1", "a"],
            "buildargs": ['{"A":"1","B":null}'],
            "labels": ['{"l":"v"}'],
            "nocache": ["yes"],
            "pull": ["false"],
            "q": ["0"],
            "rm": ["0"],
            "memory": ["1000"],
            "memswap": ["-1"],
            "cpushares": ["many"],
            "cpusetcpus": ["0-1"],
            "ulimits": ['[{"Name":"nofile","Soft":1,"Hard":2}]'],
            "extrahosts": ["a:1.2.3.4", '["b:::1"]', '{"c":"host-gateway"}'],
            "platform": ["linux/arm64"],
            "cachefrom": ['["x"]'],
            "networkmode": ["none"],
            "unknown": ["ignored"],
        }
    )
    assert [tag.familiar() for tag in options.tags] == ["a:latest", "b:1"]
    assert options.build_args == {"A": "1", "B": None}
    assert (options.no_cache, options.pull, options.quiet, options.remove_intermediate) == (True, False, False, False)
    assert (options.limits.memory_bytes, options.limits.memory_swap_bytes, options.limits.cpu_shares) == (1000, -1, 0)
    assert options.limits.ulimits == (("nofile", 1, 2),)
    assert options.extra_hosts == ("a:1.2.3.4", "b:::1", "c:host-gateway")
    assert str(options.platform) == "linux/arm64"
    assert (options.cache_from, options.network, options.labels) == (("x",), "none", {"l": "v"})
    assert options_from_query({}).remove_intermediate


@pytest.mark.row("F-235")
@pytest.mark.row("F-240")
@pytest.mark.row("F-241")
@pytest.mark.row("F-242")
@pytest.mark.row("F-238")
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"t": "UPPER"}, "must be lowercase"),
        ({"t": "a@sha256:" + "0" * 64}, "cannot contain a digest"),
        ({"squash": "1"}, "squash is only supported with experimental mode"),
        ({"version": "3"}, 'invalid version "3"'),
        ({"securityopt": '["x"]'}, "security options are not supported"),
        ({"buildargs": "{"}, "error reading buildargs"),
        ({"platform": "a/b/c/d"}, "invalid platform specifier"),
        ({"isolation": "hyperv"}, "Invalid isolation"),
        ({"outputs": '[{"Type":"tar"}]'}, "need BuildKit"),
        ({"extrahosts": "[1]"}, "error reading extrahosts"),
    ],
)
def test_what_can_not_be_had_is_refused_before_the_build_begins(query: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        options_from_query({name: [value] for name, value in query.items()})
