"""Names of images: distribution's own table of cases, and docker's words for what is none."""

from __future__ import annotations

import pytest

from onggi.errors import InvalidArgument
from onggi.oci.reference import parse_reference, parse_tag

DIGEST = "sha256:" + "0123456789abcdef" * 4

# text → full, familiar
GOOD = {
    "busybox": ("docker.io/library/busybox:latest", "busybox:latest"),
    "busybox:1.36": ("docker.io/library/busybox:1.36", "busybox:1.36"),
    "library/busybox": ("docker.io/library/busybox:latest", "busybox:latest"),
    "docker.io/busybox": ("docker.io/library/busybox:latest", "busybox:latest"),
    "index.docker.io/library/busybox": ("docker.io/library/busybox:latest", "busybox:latest"),
    "team/app": ("docker.io/team/app:latest", "team/app:latest"),
    "docker.io/team/app": ("docker.io/team/app:latest", "team/app:latest"),
    "docker.io/library/team/app": ("docker.io/library/team/app:latest", "library/team/app:latest"),
    "localhost/app": ("localhost/app:latest", "localhost/app:latest"),
    "host:5000/app": ("host:5000/app:latest", "host:5000/app:latest"),
    "host:5000/app:5000": ("host:5000/app:5000", "host:5000/app:5000"),
    "host/app": ("docker.io/host/app:latest", "host/app:latest"),
    "HOST/app": ("HOST/app:latest", "HOST/app:latest"),
    "registry.example.com/a/b/c:v1": ("registry.example.com/a/b/c:v1", "registry.example.com/a/b/c:v1"),
    "xn--n3h.com/app": ("xn--n3h.com/app:latest", "xn--n3h.com/app:latest"),
    "[2001:db8::1]:5000/app": ("[2001:db8::1]:5000/app:latest", "[2001:db8::1]:5000/app:latest"),
    f"busybox@{DIGEST}": (f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
    f"busybox:1@{DIGEST}": (f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
    "a__b/c.d-e---f": ("docker.io/a__b/c.d-e---f:latest", "a__b/c.d-e---f:latest"),
    "app:_x.y-Z": ("docker.io/library/app:_x.y-Z", "app:_x.y-Z"),
    "app:" + "t" * 128: ("docker.io/library/app:" + "t" * 128, "app:" + "t" * 128),
}

BAD = {
    "": "invalid reference format",
    ":tag": "invalid reference format",
    "Busybox": "invalid reference format: repository name (library/Busybox) must be lowercase",
    "team/App:1": "invalid reference format: repository name (team/App) must be lowercase",
    "a//b": "invalid reference format",
    "a/../b": "invalid reference format",
    "-app": "invalid reference format",
    "app-": "invalid reference format",
    "a___b": "invalid reference format",
    "a..b": "invalid reference format",
    "app:": "invalid reference format",
    "app:-x": "invalid reference format",
    "app:" + "t" * 129: "invalid reference format",
    "app@sha256:abc": "invalid reference format",
    "app@" + "md5:" + "a" * 32: "unsupported digest algorithm",
    "app@sha256:" + "a" * 63: "invalid checksum digest length",
    "app@sha256:" + "A" * 64: "invalid checksum digest format",
    "app\n": "invalid reference format",
    "äpp": "invalid reference format",
    "https://host/app": "invalid reference format",
    "a" * 64: f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings",
    "x/" + "a" * 254: "repository name must not be more than 255 characters",
}


@pytest.mark.row("I-001", "I-002", "I-007")
@pytest.mark.row("F-3")
@pytest.mark.parametrize("text", GOOD)
def test_a_name_means_what_docker_makes_of_it(text: str) -> None:
    reference = parse_reference(text)
    assert (str(reference), reference.familiar()) == GOOD[text]


@pytest.mark.row("I-001", "I-004", "I-005", "I-008")
@pytest.mark.row("F-3")
@pytest.mark.row("E-269")
@pytest.mark.parametrize("text", BAD)
def test_what_is_no_name_is_refused_in_dockers_words(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_reference(text)
    assert str(refused.value) == BAD[text]


def test_a_name_without_a_default_has_no_tag() -> None:
    assert parse_reference("busybox", None).tag is None
    assert parse_reference(f"busybox@{DIGEST}").tag is None
    assert str(parse_reference("busybox:1").with_tag("2")) == "docker.io/library/busybox:2"


@pytest.mark.parametrize("text", ["", "-x", ".x", "a/b", "a b", "a\n", "t" * 129])
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid tag format"):
        parse_tag(text)
