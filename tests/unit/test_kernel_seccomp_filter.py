"""The compiled filter, run through an interpreter of classic BPF, against moby's profile evaluated on its own."""

import ctypes
import json
import pathlib
import struct

import pytest

from onggi.errors import InvalidArgument
from onggi.kernel.seccomp import Action, Profile, Rule, compile_profile, native_architecture
from onggi.runtime.seccomp_default import default_filter, default_profile, profile_from_docker_json

MOBY = pathlib.Path(__file__).parent / "data" / "moby_seccomp_v0_2_3.json"
AUDIT_ARCH_X86_64, AUDIT_ARCH_I386 = 0xC000003E, 0x40000003
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
DEFAULT = frozenset(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
        "AUDIT_WRITE"
    ).split()
)
SETS = [DEFAULT, frozenset(), *(DEFAULT | {cap} for cap in (
    "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_MODULE", "CAP_SYS_TIME", "CAP_SYS_NICE", "CAP_BPF", "CAP_PERFMON",
    "CAP_SYSLOG", "CAP_SYS_RAWIO", "CAP_DAC_READ_SEARCH"))]  # fmt: skip

pytestmark = pytest.mark.skipif(native_architecture() != "x86_64", reason="numbers below are x86_64's")


def run_bpf(program: bytes, nr: int, arch: int = AUDIT_ARCH_X86_64, args: tuple[int, ...] = ()) -> int:
    """Verdict of a seccomp program, as the kernel's interpreter gives it (net/core/filter.c's subset for seccomp)."""
    data = struct.pack("=iIQ6Q", nr if nr < 1 << 31 else nr - (1 << 32), arch, 0, *(args + (0,) * 6)[:6])
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    pc = accumulator = 0
    while True:
        op, true, false, k = code[pc]
        pc += 1
        match op:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, k)[0]
            case 0x54:
                accumulator &= k
            case 0x05:
                pc += k
            case 0x15:
                pc += true if accumulator == k else false
            case 0x25:
                pc += true if accumulator > k else false
            case 0x35:
                pc += true if accumulator >= k else false
            case 0x06:
                return k
            case _:
                raise AssertionError(f"instruction {op:#x}")


def numbers() -> dict[str, int]:
    lib = ctypes.CDLL("libseccomp.so.2")
    found = {}
    for entry in json.loads(MOBY.read_text())["syscalls"]:
        for name in entry["names"]:
            number = lib.seccomp_syscall_resolve_name_arch(AUDIT_ARCH_X86_64, name.encode())
            if number >= 0:
                found[name] = number
    for name in "kexec_load io_uring_setup keyctl add_key request_key userfaultfd init_module mount".split():
        found[name] = lib.seccomp_syscall_resolve_name_arch(AUDIT_ARCH_X86_64, name.encode())
    return found


def moby_says(name: str, caps: frozenset[str], args: tuple[int, ...]) -> int:
    """The JSON's own answer: the first rule whose conditions and arguments hold, else the default."""
    for entry in json.loads(MOBY.read_text())["syscalls"]:
        includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
        if name not in entry["names"]:
            continue
        if includes.get("arches") and not set(includes["arches"]) & {"amd64"}:
            continue
        if not caps.issuperset(includes.get("caps", [])) or caps.intersection(excludes.get("caps", [])):
            continue
        if set(excludes.get("arches", [])) & {"amd64"}:
            continue
        if all(holds(arg, args) for arg in entry.get("args") or []):
            return ALLOW if entry["action"] == "SCMP_ACT_ALLOW" else 0x00050000 | entry["errnoRet"]
    return EPERM


def holds(arg: dict, args: tuple[int, ...]) -> bool:
    value = args[arg["index"]]
    match arg["op"]:
        case "SCMP_CMP_LT":
            return value < arg["value"]
        case "SCMP_CMP_EQ":
            return value == arg["value"]
        case "SCMP_CMP_GT":
            return value > arg["value"]
        case "SCMP_CMP_MASKED_EQ":
            return value & arg["value"] == arg.get("valueTwo", 0)
    raise AssertionError(arg["op"])


@pytest.mark.row("S-30")
@pytest.mark.parametrize("caps", SETS, ids=lambda caps: "+".join(sorted(caps - DEFAULT)) or f"{len(caps)} caps")
def test_the_default_filter_answers_as_mobys_profile_does(caps):
    program = default_filter(caps)
    samples = [
        (v, 0, 0, 0, 0, 0) for v in (0, 1, 8, 16, 37, 38, 39, 40, 41, 0x20000, 0x20008, 0xFFFFFFFF, 0x10000000, 0x11)
    ]
    for name, number in numbers().items():
        # Arguments matter to three calls only; the others are asked once.
        for args in samples if name in ("socket", "personality", "clone") else samples[:1]:
            assert run_bpf(program, number, args=args) == moby_says(name, caps, args), (name, args)


@pytest.mark.row("S-31")
def test_a_call_newer_than_the_profile_does_not_exist_and_an_older_denied_one_is_refused():
    program = default_filter(DEFAULT)
    assert run_bpf(program, 9999) == ENOSYS
    assert run_bpf(program, 9999, AUDIT_ARCH_I386) == ENOSYS
    assert run_bpf(program, 0x40000000 | 9999) == ENOSYS
    assert run_bpf(program, numbers()["mount"]) == EPERM


@pytest.mark.row("S-32")
def test_calls_of_32_bit_and_x32_programs_are_filtered_too():
    program = default_filter(DEFAULT)
    i386_mount, i386_keyctl, i386_getpid = 21, 288, 20
    assert run_bpf(program, i386_mount, AUDIT_ARCH_I386) == EPERM
    assert run_bpf(program, i386_keyctl, AUDIT_ARCH_I386) == EPERM
    assert run_bpf(program, i386_getpid, AUDIT_ARCH_I386) == ALLOW
    assert run_bpf(program, 0x40000000 | numbers()["mount"]) == EPERM
    assert run_bpf(program, 39, arch=0xC00000B7) not in (ALLOW, EPERM), "a foreign architecture is killed"


@pytest.mark.row("S-33")
def test_two_capability_sets_never_share_a_filter():
    assert default_filter(DEFAULT) != default_filter(DEFAULT | {"CAP_SYS_ADMIN"})
    assert default_profile(DEFAULT) != default_profile(DEFAULT | {"CAP_SYS_ADMIN"})


def test_mobys_file_given_as_a_users_profile_has_the_same_meaning_as_the_default():
    program = compile_profile(profile_from_docker_json(MOBY.read_bytes(), DEFAULT))
    ours = default_filter(DEFAULT)
    for number in range(480):
        assert run_bpf(program, number) == run_bpf(ours, number), number


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "decoding seccomp profile failed"),
        (b'{"defaultAction":"SCMP_ACT_WAT"}', "unknown action"),
        (b'{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}', "both 'name'"),
        (b'{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}', "both 'arch"),
        (b'{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":7,"value":1,"op":"SCMP_CMP_EQ"}]}]}', "no argument 7"),
        (b"[" * 100_000, "decoding seccomp profile failed"),
    ],
)  # fmt: skip
def test_a_bad_profile_is_refused_in_clear_words(text, words):
    with pytest.raises(InvalidArgument, match=words):
        profile_from_docker_json(text, DEFAULT)


def test_an_unconfined_default_gets_no_enosys_prefix():
    program = compile_profile(Profile(Action.ALLOW, 1, ("x86_64",), (Rule(("mount",), Action.ERRNO, 1),)))
    assert run_bpf(program, 9999) == ALLOW
    assert run_bpf(program, 165) == EPERM
