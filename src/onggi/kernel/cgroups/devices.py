"""Device rules on v2: a BPF program that the kernel asks at each open and mknod.

Source: Documentation/admin-guide/cgroup-v2.rst "Device controller"; struct bpf_cgroup_dev_ctx in linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import struct

from onggi.kernel import syscalls
from onggi.kernel.cgroups.resources import DeviceRule

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_QUERY = 5, 8, 9, 16
_PROG_GET_FD_BY_ID = 13
_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2
_ACCESS = {"m": 1, "r": 2, "w": 4}
_TYPES = {"b": 1, "c": 2}


def _instruction(code: int, dst: int, src: int, offset: int, immediate: int) -> bytes:
    """Struct bpf_insn: code, registers, offset, immediate."""
    return struct.pack("=BBhi", code, src << 4 | dst, offset, immediate)


def _rule(rule: DeviceRule) -> bytes:
    """Answers with the rule's verdict when everything it names holds, else falls through.

    R2 type, R3 access wanted, R4 major, R5 minor.
    """
    tests: list[bytes] = []
    if rule.type in _TYPES:
        tests.append(_instruction(0x55, 2, 0, 0, _TYPES[rule.type]))  # jne r2, type
    mask = sum(_ACCESS[letter] for letter in set(rule.access) & set(_ACCESS))
    if mask != 7:
        # Allowed only when all that is wanted is granted: wanted & ~mask == 0. Denied when any of it is named.
        tests.append(_instruction(0xBC, 1, 3, 0, 0))  # w1 = w3
        tests.append(_instruction(0x54, 1, 0, 0, ~mask & 7 if rule.allow else mask))  # w1 &= …
        tests.append(_instruction(0x55 if rule.allow else 0x15, 1, 0, 0, 0))  # jne / jeq r1, 0
    for register, value in ((4, rule.major), (5, rule.minor)):
        if value is not None and value >= 0:
            tests.append(_instruction(0x55, register, 0, 0, value))
    tail = _instruction(0xB4, 0, 0, 0, int(rule.allow)) + _instruction(0x95, 0, 0, 0, 0)  # w0 = verdict; exit
    out = b""
    for at, test in enumerate(tests):
        is_jump = test[0] in (0x55, 0x15)  # it goes behind the tail
        out += test[:2] + struct.pack("=h", len(tests) - at - 1 + 2) + test[4:] if is_jump else test
    return out + tail


def program(rules: list[DeviceRule]) -> bytes:
    """The filter: the last rule that fits decides (config-linux.md, "Allowed Device list"), without one it is no."""
    # r2 = access_type & 0xffff; r3 = access_type >> 16; r4 = major; r5 = minor
    head = (
        _instruction(0x61, 2, 1, 0, 0) + _instruction(0x54, 2, 0, 0, 0xFFFF)
        + _instruction(0x61, 3, 1, 0, 0) + _instruction(0x74, 3, 0, 0, 16)
        + _instruction(0x61, 4, 1, 4, 0) + _instruction(0x61, 5, 1, 8, 0)
    )  # fmt: skip
    for rule in reversed(rules):
        head += _rule(rule)
        if _fits_all(rule):
            # The verifier refuses a program with instructions that nothing reaches ("unreachable insn").
            return head
    return head + _instruction(0xB4, 0, 0, 0, 0) + _instruction(0x95, 0, 0, 0, 0)


def _fits_all(rule: DeviceRule) -> bool:
    numbers = [number for number in (rule.major, rule.minor) if number is not None and number >= 0]
    return rule.type not in _TYPES and set(_ACCESS) <= set(rule.access) and not numbers


def _bpf(step: str, command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 120))
    return syscalls.call(f"bpf {step}", syscalls.NR.bpf, command, buffer, len(buffer))


def set_filter(directory: str, rules: list[DeviceRule]) -> None:
    """The filter of `rules` takes the place of what is attached, without a moment between them: new first, then old."""
    code = program(rules)
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache")
    load = struct.pack(
        "=IIQQIIQII",
        _TYPE_CGROUP_DEVICE,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        0,
        0,
        0,
        0,
        0,
    )
    group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        old = _attached(group)
        new = _bpf("load device filter", _PROG_LOAD, load)
        try:
            _bpf(
                "attach device filter",
                _PROG_ATTACH,
                struct.pack("=IIII", group, new, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI),
            )
        finally:
            os.close(new)
        for identifier in old:
            fd = _bpf("open device filter", _PROG_GET_FD_BY_ID, struct.pack("=I", identifier))
            try:
                _bpf("detach device filter", _PROG_DETACH, struct.pack("=III", group, fd, _ATTACH_CGROUP_DEVICE))
            finally:
                os.close(fd)
    finally:
        os.close(group)


def _attached(group: int) -> list[int]:
    ids = (ctypes.c_uint32 * 64)()
    attributes = struct.pack("=IIIIQI", group, _ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), 64)
    buffer = ctypes.create_string_buffer(attributes, 120)
    syscalls.call("bpf query", syscalls.NR.bpf, _PROG_QUERY, buffer, len(buffer))
    return list(ids[: struct.unpack_from("=I", buffer.raw, 24)[0]])
