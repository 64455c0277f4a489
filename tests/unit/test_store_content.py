"""Blobs: nothing under a digest but its bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from onggi.errors import Corrupt, NotFound
from onggi.oci.digest import Digest, parse_digest, sha256_of
from onggi.store.content import Content


def test_a_blob_is_there_under_its_digest(tmp_path: Path) -> None:
    content = Content(tmp_path)
    digest = content.put(b"hello")
    assert digest == sha256_of(b"hello")
    assert (content.has(digest), content.size(digest), content.read(digest)) == (True, 5, b"hello")
    assert list(content.walk()) == [digest]
    assert content.put(b"hello") == digest
    content.delete(digest)
    content.delete(digest)
    with pytest.raises(NotFound):
        content.size(digest)


@pytest.mark.row("S-45")
@pytest.mark.parametrize(
    ("digest", "size"),
    [(sha256_of(b"other"), None), (None, 4), (None, 6), (sha256_of(b"hello"), 6), (sha256_of(b"other"), 5)],
)
def test_bytes_that_are_not_what_was_promised_are_forgotten(
    tmp_path: Path, digest: Digest | None, size: int | None
) -> None:
    content = Content(tmp_path)
    with content.ingest() as writer:
        writer.write(b"hello")
        with pytest.raises(Corrupt):
            writer.commit(digest, size)
    assert list(content.walk()) == []
    assert os.listdir(tmp_path / "ingest") == []


def test_a_writer_that_is_left_leaves_nothing_unless_it_can_be_resumed(tmp_path: Path) -> None:
    content = Content(tmp_path)
    with content.ingest() as writer:
        writer.write(b"hello")
    assert os.listdir(tmp_path / "ingest") == []
    digest = sha256_of(b"hello")
    with content.resume(digest) as writer:
        writer.write(b"hel")
    with content.resume(digest) as writer:
        assert (writer.offset, writer.digest) == (3, sha256_of(b"hel"))
        writer.restart()
        writer.write(b"wrong")
        with pytest.raises(Corrupt):
            writer.commit(digest)
    assert os.listdir(tmp_path / "ingest") == []
    with content.resume(digest) as writer:
        writer.write(b"part")
    assert (content.clean(), content.clean(partial=True)) == (0, 1)


def test_sha512_is_a_digest_too(tmp_path: Path) -> None:
    content = Content(tmp_path)
    digest = parse_digest("sha512:" + hashlib.sha512(b"hello").hexdigest())
    with content.ingest() as writer:
        writer.write(b"hello")
        assert writer.commit(digest, 5) == digest
    with content.resume(digest) as writer:
        writer.write(b"hello")
        writer.commit(digest, 5)
    assert list(content.walk()) == [digest]


def test_a_damaged_blob_is_not_served_as_a_document(tmp_path: Path) -> None:
    content = Content(tmp_path)
    digest = content.put(b"hello")
    assert content.verify(digest)
    Path(content.path(digest)).write_bytes(b"hellO")
    assert not content.verify(digest)
    with pytest.raises(Corrupt, match="damaged on disk"):
        content.read(digest)
    with pytest.raises(Corrupt, match="larger than 3 bytes"):
        content.read(digest, limit=3)


@pytest.mark.row("S-47")
@pytest.mark.parametrize(
    "text", ["../x", "sha256:../../etc/passwd", "sha256:" + "a" * 63, "sha256:" + "a" * 64 + "\n", ""]
)
def test_nothing_but_a_digest_becomes_a_path(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        Content(tmp_path).path(Digest(text))
