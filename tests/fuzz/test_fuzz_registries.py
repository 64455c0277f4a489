"""What strangers send to the registry and to its clients, in every form: refused or read, never anything else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.images.challenge import parse_challenges
from onggi.images.guard import Guard, LedAstray
from onggi.images.loadjob import clean_name
from onggi.images.tries import retry_after_s
from onggi.oci.digest import Digest, is_digest, sha256_of
from onggi.oci.manifest import OCI_CONFIG, OCI_LAYER_GZIP, Descriptor, Manifest, encode_document
from onggi.registry import routes
from onggi.registry.answers import Refused
from onggi.registry.collector import collect
from onggi.registry.names import Repository
from onggi.registry.repositories import Repositories
from onggi.registry.uploads import Uploads

words = st.text(st.sampled_from("ab/._-:@%\\ \x00\n\"',=~é"), max_size=30)


@pytest.mark.row("S-47")
@given(st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "POST", "HEAD", "TRACE"]), words, words)
def test_a_path_is_a_route_with_a_clean_name_or_refused(method, name, rest):
    for path in (f"/v2/{name}/manifests/{rest}", f"/v2/{name}/blobs/uploads/{rest}", f"/v2/{name}{rest}", name):
        try:
            found = routes.match(method, path)
        except Refused:
            continue
        assert found.route.method == method
        if found.name:
            parts = found.name.split("/")
            assert all(part and part[0] not in "._-" and part[-1] not in "._-" for part in parts)
        assert "/" not in found.argument


@pytest.mark.row("S-52")
@given(st.binary(max_size=60) | words.map(str.encode))
def test_a_name_in_an_archive_never_leads_up(name):
    parts = clean_name(name).split("/")
    assert ".." not in parts
    assert parts == [""] or "" not in parts


@given(st.text(max_size=200) | st.text(st.sampled_from('Bearer realm="x\\",= \tbasic'), max_size=200))
def test_challenges_are_read_or_not_and_nothing_else(header):
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


@given(st.text(max_size=60))
def test_a_wait_is_a_number(header):
    assert retry_after_s(header) >= 0


@pytest.mark.row("S-48")
@given(st.ip_addresses().filter(lambda address: not address.is_global or address.is_multicast))
def test_no_inner_address_is_asked_for_a_public_registry(address):
    from yarl import URL

    host = f"[{address}]" if address.version == 6 else str(address)
    with pytest.raises(LedAstray):
        Guard("registry.example.com", insecure=False).check(URL(f"https://{host}/x"))


@pytest.mark.row("R-35")
@pytest.mark.row("I-240")
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_nothing_reachable_is_ever_collected(tmp_path_factory, seed):
    """Pushes, deletions and collections in any order: what a tag leads to is whole."""
    chance = random.Random(seed)
    root = tmp_path_factory.mktemp("registry")
    repositories = Repositories(root)
    uploads = Uploads(root, repositories.content)
    names = [Repository("a"), Repository("b/c")]
    blobs = [repositories.content.put(bytes([n]) * 9) for n in range(6)]
    for _ in range(30):
        name, tag = chance.choice(names), chance.choice(["x", "y"])
        match chance.randrange(4):
            case 0 | 1:
                chosen = chance.sample(range(6), 2)
                for n in chosen:
                    repositories.link_blob(name, repositories.content.put(bytes([n]) * 9))
                config, layer = (blobs[n] for n in chosen)
                document = Manifest(2, Descriptor(OCI_CONFIG, config, 9), [Descriptor(OCI_LAYER_GZIP, layer, 9)])
                data = encode_document(document)
                with repositories.naming():
                    repositories.put_manifest(name, data, sha256_of(data), "x", [tag], None)
            case 2:
                for found in repositories.tags(name)[:1]:
                    repositories.delete_manifest(name, repositories.resolve(name, found), None)
            case 3:
                collect(repositories, uploads, grace_s=-1)
        _check_whole(repositories)
    collect(repositories, uploads, grace_s=-1)
    _check_whole(repositories)
    assert set(repositories.content.walk()) == _reachable(repositories)


def _reachable(repositories: Repositories) -> set[Digest]:
    from onggi.oci.manifest import decode_manifest

    found: set[Digest] = set()
    for name in repositories.names():
        for digest in repositories.manifests(name):
            document = decode_manifest(repositories.content.read(digest))
            assert isinstance(document, Manifest)
            found |= {digest, document.config.digest, *(layer.digest for layer in document.layers)}
    return found


def _check_whole(repositories: Repositories) -> None:
    for name in repositories.names():
        for tag in repositories.tags(name):
            digest = repositories.resolve(name, tag)
            assert is_digest(digest)
            repositories.manifest(name, digest)
    for digest in _reachable(repositories):
        assert repositories.content.verify(digest)


@pytest.mark.row("R-35")
def test_a_blob_that_was_just_pushed_waits_for_its_manifest(tmp_path: Path):
    repositories = Repositories(tmp_path)
    uploads = Uploads(tmp_path, repositories.content)
    blob = repositories.content.put(b"waiting")
    assert collect(repositories, uploads) == ([], 0)
    assert repositories.content.has(blob)
