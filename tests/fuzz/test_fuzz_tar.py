"""The tar reader and writer against anything: members, or Corrupt, in bounded time and memory."""

from __future__ import annotations

import io
import tarfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.errors import Corrupt
from onggi.store import tarformat, tarparse
from onggi.store.tarparse import Member
from onggi.store.tarread import TarReader

MANY = settings(max_examples=200, deadline=None)


def _read(data: bytes, piece: int = 700) -> list[tuple[Member, bytes]]:
    source = io.BytesIO(data)
    reader = TarReader(lambda: source.read(piece))
    found = []
    while (member := reader.next()) is not None:
        found.append((member, b"".join(bytes(view) for _, view in reader.data(member))))
    return found


def _sample(format: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, size in (("short", 10), ("l" * 150, 600), ("dir/" + "n" * 90, 0), ("ü", 1)):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = size, 12.5 if format == tarfile.PAX_FORMAT else 12, 2**22
            if format == tarfile.USTAR_FORMAT:
                info.uid, info.name = 7, info.name[-90:]
            archive.addfile(info, io.BytesIO(b"x" * size))
    return out.getvalue()


SAMPLES = [_sample(format) for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)]


@pytest.mark.row("F-2")
@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("piece", [1, 511, 4096])
def test_it_agrees_with_another_reader(sample: bytes, piece: int) -> None:
    with tarfile.open(fileobj=io.BytesIO(sample)) as archive:
        expected = [(member.name.encode(), member.size, int(member.mtime), member.uid) for member in archive]
    assert [(m.name, m.size, m.mtime_ns // 10**9, m.uid) for m, _ in _read(sample, piece)] == expected


@pytest.mark.row("F-2")
@pytest.mark.row("S-43")
@MANY
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=12)), min_size=1, max_size=6),
)
def test_a_damaged_archive_is_corrupt_or_read(sample: bytes, damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(sample)
    for place, junk in damage:
        start = place % len(data)
        data[start : start + len(junk)] = junk
    # The checksum is put right, so that the damage is not all caught there.
    for start in range(0, len(data) - 511, 512):
        block = data[start : start + 512]
        if block[257:262] == b"ustar":
            total = sum(block) - sum(block[148:156]) + 256
            data[start + 148 : start + 156] = b"%06o\0 " % total
    begun = time.monotonic()
    try:
        for member, content in _read(bytes(data)):
            assert len(content) == member.size
            assert len(member.name) <= tarparse.NAME_LIMIT
            assert b"\0" not in member.name
    except Corrupt:
        pass
    assert time.monotonic() - begun < 1


@pytest.mark.row("F-2")
@MANY
@given(st.binary(max_size=3000))
def test_garbage_is_corrupt_or_nothing(data: bytes) -> None:
    try:
        _read(data)
    except Corrupt:
        pass


@pytest.mark.row("S-43")
@MANY
@given(
    st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12), st.integers(-3, 3)), max_size=5),
    st.binary(max_size=40),
)
def test_pax_records_end(records: list[tuple[bytes, bytes, int]], tail: bytes) -> None:
    body = (
        b"".join(b"%d %s=%s\n" % (len(key) + len(value) + 5 + wrong, key, value) for key, value, wrong in records)
        + tail
    )
    extended = tarformat.header(Member(name=b"x", type=b"x", mode=0, uid=0, gid=0, size=len(body), mtime_ns=0))
    try:
        _read(
            extended
            + body
            + bytes(-len(body) % 512)
            + tarformat.header(Member(name=b"f", type=b"0", mode=0, uid=0, gid=0, size=0, mtime_ns=0))
        )
    except Corrupt:
        pass


@pytest.mark.row("S-43")
@pytest.mark.parametrize(
    "pax",
    [
        {"size": "-1"},
        {"size": "9" * 30},
        {"size": "1e3"},
        {"uid": "-5"},
        {"gid": str(2**32)},
        {"path": "n" * 5000},
        {"GNU.sparse.map": "0,5,3,5", "GNU.sparse.size": "10"},
        {"GNU.sparse.map": "0,5,20,5", "GNU.sparse.size": "10"},
        {"GNU.sparse.map": "0,-5", "GNU.sparse.size": "10"},
        {"GNU.sparse.map": "0,5,6", "GNU.sparse.size": "10"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "10"},
        {"GNU.sparse.major": "9", "GNU.sparse.minor": "0"},
    ],
)
def test_numbers_that_make_no_sense_are_corrupt(pax: dict[str, str]) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("f")
        info.size, info.pax_headers = 10, pax
        archive.addfile(info, io.BytesIO(b"x" * 10))
    with pytest.raises(Corrupt):
        _read(out.getvalue())


NAMES = st.binary(min_size=1, max_size=300).filter(
    lambda name: b"\0" not in name and not name.endswith(b"/") and name.strip(b"/")
)


@pytest.mark.row("F-2")
@MANY
@given(
    NAMES,
    st.sampled_from([tarparse.FILE, tarparse.SYMLINK, tarparse.FIFO, tarparse.CHAR_DEVICE]),
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 2),
    st.integers(-(2**32), 2**32),
    NAMES,
    st.dictionaries(st.sampled_from([b"user.a", b"security.capability"]), st.binary(max_size=30)),
)
def test_what_is_written_is_read(
    name: bytes, kind: bytes, mode: int, uid: int, seconds: int, link: bytes, xattrs: dict[bytes, bytes]
) -> None:
    link = link if kind == tarparse.SYMLINK else b""
    minor = 5 if kind == tarparse.CHAR_DEVICE else 0
    member = Member(
        name=name,
        type=kind,
        mode=mode,
        uid=uid,
        gid=uid,
        size=0,
        mtime_ns=seconds * 10**9,
        link=link,
        minor=minor,
        xattrs=xattrs,
        real_size=0,
    )
    written = tarformat.header(member)
    assert written == tarformat.header(member)
    [(found, _)] = _read(written + tarformat.END)
    assert found == member
