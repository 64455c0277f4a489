"""A whole Dockerfile of a stranger becomes a plan or one of our errors, and so do the words of mounts and git addresses (F-1)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.build.checks import Checker, parse_check_options
from onggi.build.dockerfile import parse_dockerfile
from onggi.build.errors import BuildFailed
from onggi.build.gitwords import is_git, parse_git
from onggi.build.options import BuildOptions
from onggi.build.planning import Planning
from onggi.build.runmounts import check_mount, parse_device, parse_mount
from onggi.build.vertices import SourceFile
from onggi.errors import InvalidArgument
from onggi.oci.image import ImageConfig, RunConfig
from onggi.oci.platform import host_platform

LINES = st.sampled_from(
    ["FROM base", "FROM base AS a", "FROM a", "FROM scratch", "FROM $X", "FROM --platform=$TARGETPLATFORM base AS b", "ARG X", "ARG X=1", "ENV X=$X$Y",
     "RUN true", "RUN --mount=type=cache,target=$X true", "RUN --mount=from=a,source=/x,target=y true", "RUN --network=none true", "RUN <<E\nx\nE",
     "COPY a b", "COPY --from=a /x /y", "COPY --from=0 a b", "COPY --link --chmod=+x a ${X:-/}", "ADD https://h/x.git#m /", "COPY <<E /e\n$X\nE", "WORKDIR $X",
     "WORKDIR /w", "EXPOSE 80/TCP $X", "VOLUME $X", "USER $X", "ONBUILD COPY --from=a x y", "CMD x", "ENTRYPOINT x", "HEALTHCHECK NONE", "STOPSIGNAL 9",
     "LABEL a ${b", 'SHELL ["x"]', "# check=skip=all", "MAINTAINER m"]
)  # fmt: skip
PIECES = st.sampled_from(
    ["type=", "bind", "cache", "secret", "ssh", "tmpfs", ",", "=", '"', "target=", "/x", "..", "from=", "$x", "id=", "size=", "9g", "mode=", "0777", "uid=-1",
     "sharing=", "locked", "required", "ro=maybe", "env=", "\x00", "é"]
)  # fmt: skip


@pytest.mark.row("F-014")
@settings(max_examples=400, deadline=None)
@given(st.lists(LINES, max_size=14), st.dictionaries(st.sampled_from(["X", "SOURCE_DATE_EPOCH"]), st.text(max_size=8)))
def test_any_instructions_become_a_plan_or_an_error(lines: list[str], given_args: dict[str, str]) -> None:
    try:
        dockerfile = parse_dockerfile("\n".join(lines).encode("utf-8", "surrogatepass"))
        planning = Planning(
            dockerfile,
            BuildOptions(build_args=given_args),
            host_platform(),
            Checker(),
            file=SourceFile("Dockerfile", b""),
            every_stage=True,
        )
        while missing := planning.bases():
            for stage, _ in missing:
                config = RunConfig(env=["PATH=/bin"], on_build=["RUN true", "COPY --from=base x y"])
                planning.resolved(stage, ImageConfig("amd64", "linux", config=config))
        plan = planning.plan()
    except (InvalidArgument, BuildFailed):
        return
    # History says of each layer that it is one.
    for stage in plan.stages.values():
        layers = [entry for entry in stage.state.history if not entry.empty_layer]
        assert len(layers) >= len(stage.steps)


@pytest.mark.row("F-067")
@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60))
def test_any_words_of_a_mount_are_a_mount_or_an_error(text: str) -> None:
    for read in (check_mount, parse_device, lambda words: parse_mount(words, lambda value: value), parse_check_options):
        try:
            read(text)
        except InvalidArgument:
            continue


@pytest.mark.row("F-103")
@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["git://", "https://", "git@h:", "h", "/r.git", "#", "?", "ref=", "&", "-x", "..", ":", "sub", "[", "]", "\n"]), max_size=10).map("".join))  # fmt: skip
def test_an_address_that_is_taken_begins_with_no_option(text: str) -> None:
    try:
        if not is_git(text):
            return
        found = parse_git(text)
    except InvalidArgument:
        return
    assert not found.remote.startswith("-")
    assert not found.ref.startswith("-")
