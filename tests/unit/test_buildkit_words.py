"""What buildx's words become: attributes, filters, provenance, definitions of results. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from onggi.build.buildkit import definitions, filters, provenance
from onggi.build.buildkit.attributes import options_of
from onggi.build.buildkit.caches import imports_of
from onggi.build.buildkit.filesync import mode_of, request_metadata
from onggi.build.buildkit.history import framed, unframed
from onggi.build.buildkit.pb import control_pb2, ops_pb2
from onggi.build.buildkit.sending import in_order, stat_of
from onggi.build.buildkit.uploading import is_upload
from onggi.build.entries import DIRECTORY, FILE, SYMLINK, Entry
from onggi.errors import InvalidArgument


@pytest.mark.row("F-282")
def test_attributes_of_the_frontend_become_options() -> None:
    options = options_of(
        {
            "filename": "sub/Dockerfile.x",
            "target": "made",
            "build-arg:A": "1",
            "label:l": "v",
            "no-cache": "",
            "image-resolve-mode": "pull",
            "force-network-mode": "none",
            "add-hosts": "one=10.0.0.1,two=::1",
            "platform": "linux/arm64",
            "ulimit": "nofile=1024:2048,nproc=5",
            "shm-size": "1048576",
            "cgroup-parent": "/cg",
            "memory": "7",
            "cpusetcpus": "0-1",
        }
    )
    assert (options.dockerfile, options.target) == ("sub/Dockerfile.x", "made")
    assert options.build_args == {"A": "1"}
    assert options.labels == {"l": "v"}
    assert options.no_cache
    assert options.pull
    assert options.network == "none"
    assert options.extra_hosts == ("one:10.0.0.1", "two:::1")
    assert [str(platform) for platform in options.wanted_platforms] == ["linux/arm64"]
    assert options.limits.ulimits == (("nofile", 1024, 2048), ("nproc", 5, 5))
    assert (options.limits.shm_bytes, options.limits.cgroup_parent, options.limits.memory_bytes) == (1048576, "/cg", 7)
    assert options.limits.cpuset_cpus == "0-1"
    assert not options_of({}).no_cache


@pytest.mark.parametrize("attrs", [{"shm-size": "x"}, {"ulimit": "a=b"}, {"platform": "l!nux"}])
def test_attributes_that_mean_nothing_are_refused(attrs: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        options_of(attrs)


@pytest.mark.row("F-162")
def test_caches_are_named_by_the_frontend_and_by_the_call() -> None:
    entry = control_pb2.CacheOptionsEntry
    told = '[{"Type":"registry","Attrs":{"ref":"r/x:1"}},{"Type":"local","Attrs":{"src":"d"}}]'
    found = imports_of(
        {"cache-imports": told, "cache-from": "r/y"},
        [entry(Type="registry", Attrs={"ref": "r/x:1"}), entry(Type="gha", Attrs={})],
    )
    assert [(each.type, each.attrs.get("ref", "")) for each in found] == [
        ("registry", "r/x:1"),
        ("local", ""),
        ("gha", ""),
        ("registry", "r/y"),
    ]
    with pytest.raises(InvalidArgument):
        imports_of({"cache-imports": "{"}, [])


@pytest.mark.row("F-300")
def test_a_context_that_the_session_has_is_no_remote_one() -> None:
    assert is_upload("http://buildkit-session/abc")
    assert not is_upload("http://example.org/x.tar")
    assert options_of({"context": "http://buildkit-session/abc"}).remote == ""
    assert options_of({"context": "https://example.org/x.tar"}).remote == "https://example.org/x.tar"


@pytest.mark.row("F-322")
@pytest.mark.parametrize(
    ("expressions", "matches"),
    [
        ([], True),
        (["status==error"], True),
        (["status!=error"], False),
        (["ref~=^ab"], True),
        (["status==error,ref==other"], False),
        (["status==done", "ref==abc"], True),
        (["duration>1m"], True),
        (["duration>=1h30m"], False),
        (["startedAt<24h"], True),
        (["inuse"], False),
        (["shared"], True),
    ],
)
def test_filters_choose_records(expressions: list[str], matches: bool) -> None:
    fields = {
        "ref": "abc",
        "status": "error",
        "duration": 3600 * 10**9,
        "startedAt": 1_000_000,
        "shared": "true",
        "inuse": "",
    }
    assert filters.matcher(expressions)(fields) is matches


@pytest.mark.parametrize("expression", ["duration>soon", "startedAt>yesterday", "ref~=(", "a b", "ref~=" + "x" * 300])
def test_filters_that_mean_nothing_are_refused(expression: str) -> None:
    with pytest.raises(InvalidArgument):
        filters.matcher([expression])


@pytest.mark.row("F-209")
def test_provenance_has_no_values_of_arguments_but_in_mode_max() -> None:
    attrs = {"filename": "D", "target": "t", "build-arg:PASSWORD": "hunter2", "label:l": "v"}
    told: dict[bool, Any] = {
        is_max: provenance.predicate("ref", attrs, [], started_ns=10**9, ended_ns=2 * 10**9, is_max=is_max)
        for is_max in (False, True)
    }
    assert told[False]["invocation"]["parameters"]["args"] == {"target": "t"}
    assert told[True]["invocation"]["parameters"]["args"]["build-arg:PASSWORD"] == "hunter2"
    assert told[False]["metadata"]["buildStartedOn"] == "1970-01-01T00:00:01Z"
    assert msgspec.json.decode(provenance.encoded(told[True]))["buildType"] == "https://mobyproject.org/buildkit@v1"


@pytest.mark.row("F-320")
def test_a_results_definition_leads_back_to_it() -> None:
    made = definitions.definition_of("abc")
    _, end = definitions.operations(made)
    assert ops_pb2.Op.FromString(end).inputs[0].digest.startswith("sha256:")
    assert definitions.result_in(made) == "abc"
    foreign = ops_pb2.Definition()
    definitions.operations(foreign).append(
        ops_pb2.Op(source=ops_pb2.SourceOp(identifier="docker-image://x")).SerializeToString()
    )
    assert definitions.result_in(foreign) == ""
    definitions.operations(foreign)[:] = [b"\xff\xff"]
    assert definitions.result_in(foreign) == ""


@pytest.mark.row("F-305")
def test_what_is_wanted_of_a_directory_is_escaped_where_it_must_be() -> None:
    assert request_metadata("context", follow=["a", "b*"], exclude=[], include=["ü x"]) == [
        ("dir-name", "context"),
        ("followpaths", "a"),
        ("followpaths", "b*"),
        ("include-patterns", "%C3%BC+x"),
        ("include-patterns-encoded", "1"),
    ]


def test_files_are_named_in_the_order_that_fsutil_walks() -> None:
    entries = [Entry("", DIRECTORY, 0o755, 0), *(Entry(path, FILE, 0o644, 0) for path in ("b", "a.x", "a/z", "a"))]
    assert [entry.path for entry in in_order(entries)] == ["a", "a/z", "a.x", "b"]
    told = stat_of(Entry("s", FILE, 0o4755, 7, size=3))
    assert (mode_of(told.mode), told.size, told.modTime) == (0o4755, 3, 7)
    link = stat_of(Entry("l", SYMLINK, 0o777, 0, link="to"))
    assert (link.mode & (1 << 27), link.linkname) == (1 << 27, "to")


def test_logs_are_cut_as_they_were_put_together() -> None:
    assert unframed(framed([b"", b"abc", b"x" * 70000])) == [b"", b"abc", b"x" * 70000]
    assert unframed(framed([b"abc"])[:-1]) == [b"ab"]
