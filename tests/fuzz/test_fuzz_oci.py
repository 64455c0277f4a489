"""Parsers of names, digests and documents against anything: a value that round-trips, or InvalidArgument."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.errors import InvalidArgument
from onggi.oci.digest import hex_of, parse_digest, sha256_of
from onggi.oci.image import decode_image_config, encode_image_config
from onggi.oci.manifest import Index, Manifest, decode_manifest, encode_document
from onggi.oci.platform import parse_platform
from onggi.oci.reference import parse_reference

MANY = settings(max_examples=200, deadline=None)

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
NEAR_REFERENCES = st.one_of(
    st.text(max_size=80),
    st.text("abAZ09._-:/@[]%\\\n\0", max_size=60),
    st.from_regex(r"([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._/-]+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", fullmatch=True),
)


@pytest.mark.row("S-47")
@MANY
@given(NEAR_REFERENCES)
def test_a_reference_is_what_it_prints(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidArgument:
        return
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar()) == reference
    for part in (reference.domain, *reference.path.split("/"), reference.tag or "x"):
        assert part not in {"", ".", ".."}
        assert not re.search(r"[\0\n%\\]", part)


@pytest.mark.row("S-47")
@MANY
@given(
    st.one_of(
        st.text(max_size=90),
        HEX.map("sha256:{}".format),
        HEX.map("sha256:{}\n".format),
        HEX.map("sha512:{}".format),
        HEX.map("SHA256:{}".format),
    )
)
def test_a_digest_is_a_safe_file_name(text: str) -> None:
    try:
        digest = parse_digest(text)
    except InvalidArgument:
        return
    assert digest == text
    assert re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{128}", hex_of(digest))


@pytest.mark.row("F-3")
@MANY
@given(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(["linux/amd64", "linux/arm64/v8", "linux/arm", "windows", "arm64", "LINUX/X86_64"]),
    )
)
def test_a_platform_is_what_it_prints(text: str) -> None:
    try:
        platform = parse_platform(text)
    except InvalidArgument:
        return
    assert parse_platform(str(platform)) == platform


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=12), inner, max_size=3)),
    max_leaves=12,
)
DESCRIPTOR = st.fixed_dictionaries(
    {"mediaType": st.text(max_size=10), "digest": HEX.map("sha256:{}".format), "size": st.integers(-1, 2**40)},
    optional={"urls": JSON, "platform": JSON, "extra": JSON},
)
DOCUMENT = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.sampled_from([1, 2, "2"]),
        "mediaType": st.sampled_from(
            [
                "",
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.index.v1+json",
                "application/vnd.docker.distribution.manifest.v2+json",
                "x",
            ]
        ),
        "config": st.one_of(DESCRIPTOR, JSON),
        "layers": st.one_of(st.lists(DESCRIPTOR, max_size=2), JSON),
        "manifests": st.one_of(st.lists(DESCRIPTOR, max_size=2), JSON),
        "Manifests": JSON,
        "annotations": JSON,
    },
)


@pytest.mark.row("S-46")
@pytest.mark.row("F-4")
@MANY
@given(
    DOCUMENT,
    st.sampled_from(
        [
            "",
            "application/json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
            "text/html",
        ]
    ),
)
def test_a_document_has_one_type_or_none(document: dict[str, object], header: str) -> None:
    try:
        found = decode_manifest(json.dumps(document).encode(), header)
    except InvalidArgument:
        return
    assert ("manifests" in document) == isinstance(found, Index)
    assert not {"manifests", "layers"} <= document.keys()
    assert document.get("mediaType") in {None, "", found.media_type}
    assert "Manifests" not in document
    assert decode_manifest(encode_document(found), found.media_type) == found


CONFUSIONS = [
    ({"mediaType": "application/vnd.oci.image.index.v1+json", "layers": [], "config": None}, ""),
    ({"mediaType": "application/vnd.oci.image.manifest.v1+json", "manifests": []}, ""),
    ({"manifests": [], "layers": []}, ""),
    ({"manifests": [], "config": {}}, ""),
    ({"manifests": []}, "application/vnd.oci.image.manifest.v1+json"),
    ({"layers": [], "config": {}}, "application/vnd.oci.image.index.v1+json"),
    ({"manifests": [], "Layers": []}, ""),
    ({"MANIFESTS": [], "layers": []}, ""),
    ({"manifests": [], "fsLayers": []}, ""),
    ({"manifests": []}, "text/html"),
    (
        {"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []},
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ),
    ({"mediatype": "application/vnd.oci.image.index.v1+json", "manifests": []}, ""),
]


def manifest_with(words: str) -> bytes:
    config = f'{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{"0" * 64}","size":1}}'
    return f'{{"schemaVersion":2,"config":{config},"layers":[]{words}}}'.encode()


@pytest.mark.row("S-27")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (',"layers":[]', "field 'layers' is there twice"),
        (',"annotations":{"a":"1","a":"2"}', "field 'a' is there twice"),
        (r',"x":1,"\u0078":2', "field 'x' is there twice"),
        (',"x":' + '{"a":' * 70 + "1" + "}" * 70, "nested deeper than 64"),
        (',"x":' + "[" * 200_000 + "]" * 200_000, ""),
        (',"x":[1', ""),
        (',"subject":{"mediaType":"a/b","digest":"sha256:' + "0" * 64 + '","size":18446744073709551616}', "<= 4611686018427387904"),
        (',"subject":{"mediaType":"a/b","digest":"sha256:' + "0" * 64 + '","size":-1}', ">= 0"),
        (',"subject":{"mediaType":"a/b","digest":"sha256:' + "0" * 64 + '","size":1e400}', "out of range"),
        (',"x":"' + "a" * (4 << 20) + '"', "larger than 4194304 bytes"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_document_that_readers_would_take_differently_is_refused(words: str, said: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidArgument) as refused:
        decode_manifest(manifest_with(words))
    assert said in str(refused.value)
    assert time.process_time() - started < 1


@pytest.mark.row("S-27")
def test_brackets_and_names_in_strings_are_only_words() -> None:
    words = ',"annotations":{"a":"' + "[{" * 100 + '\\"}' + '","b":"a"}'
    assert decode_manifest(manifest_with(words)).annotations == {"a": "[{" * 100 + '"}', "b": "a"}


@pytest.mark.row("S-46")
@pytest.mark.parametrize(("document", "header"), CONFUSIONS)
def test_a_document_that_can_be_read_two_ways_is_refused(document: dict[str, object], header: str) -> None:
    with pytest.raises(InvalidArgument):
        decode_manifest(json.dumps({"schemaVersion": 2} | document).encode(), header)


def test_an_index_prefers_the_exact_variant() -> None:
    def entry(architecture: str, variant: str = "", system: str = "linux") -> dict[str, object]:
        platform = {"architecture": architecture, "os": system, "variant": variant}
        return {
            "mediaType": "m",
            "digest": sha256_of(f"{architecture}{variant}".encode()),
            "size": 1,
            "platform": platform,
        }

    entries = [
        entry("unknown", system="unknown"),
        entry("arm", "v6"),
        entry("arm", "v7"),
        entry("amd64", "v3"),
        entry("amd64"),
        entry("arm64", "v8"),
    ]
    index = decode_manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    assert isinstance(index, Index)
    chosen = {
        text: index.choose(parse_platform(text))
        for text in (
            "linux/arm/v7",
            "linux/arm/v6",
            "linux/amd64",
            "linux/amd64/v4",
            "linux/arm64",
            "linux/s390x",
            "linux/arm/v5",
        )
    }
    assert {
        text: str(found.platform.normalised()) if found and found.platform else None for text, found in chosen.items()
    } == {
        "linux/arm/v7": "linux/arm/v7",
        "linux/arm/v6": "linux/arm/v6",
        "linux/amd64": "linux/amd64",
        "linux/amd64/v4": "linux/amd64/v3",
        "linux/arm64": "linux/arm64",
        "linux/s390x": None,
        "linux/arm/v5": None,
    }


@pytest.mark.row("I-021")
@pytest.mark.row("F-4")
@MANY
@given(
    st.dictionaries(
        st.sampled_from(
            ["architecture", "os", "config", "rootfs", "history", "created", "moby.extra", "extra", "docker_version"]
        ),
        JSON,
    )
)
def test_a_config_keeps_what_nobody_knows(document: dict[str, object]) -> None:
    try:
        config = decode_image_config(json.dumps(document).encode())
    except InvalidArgument:
        return
    again = json.loads(encode_image_config(config))
    for name in {"moby.extra", "docker_version"} & document.keys():
        assert again[name] == document[name]
    assert encode_image_config(decode_image_config(encode_image_config(config))) == encode_image_config(config)


def test_a_manifest_names_its_parts() -> None:
    document = {
        "schemaVersion": 2,
        "config": {"mediaType": "c", "digest": "sha256:" + "a" * 64, "size": 3},
        "layers": [],
        "annotations": {"a": "b"},
    }
    found = decode_manifest(json.dumps(document).encode())
    assert isinstance(found, Manifest)
    assert (found.config.size, found.annotations) == (3, {"a": "b"})
