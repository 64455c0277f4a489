"""nftables through libnftables: commands as text, each call one transaction.

Source: libnftables(3), nft(8). The library is opened at first use, in the engine alone: it takes 3 MB.
One context, used from one thread at a time.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import socket
import struct
import threading

from onggi.kernel.netlink import attributes

_FLAG_JSON = 1 << 4
_FLAG_TERSE = 1 << 7
_NETLINK_NETFILTER = 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_GROUP_NFTABLES = 7
_NEWGEN = 10 << 8 | 15
_GEN_PROC_PID = 2
_lock = threading.Lock()


@functools.cache
def _library() -> ctypes.CDLL:
    lib = ctypes.CDLL("libnftables.so.1")
    lib.nft_ctx_new.restype = ctypes.c_void_p
    lib.nft_ctx_new.argtypes = [ctypes.c_uint32]
    lib.nft_ctx_buffer_output.argtypes = [ctypes.c_void_p]
    lib.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
    lib.nft_ctx_get_output_buffer.argtypes = [ctypes.c_void_p]
    lib.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    lib.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    lib.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    lib.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    lib.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return lib


@functools.cache
def _context(process: int) -> int:  # noqa: ARG001 - one for each
    """One for the process, kept: its socket must have a small number, and at the engine's start it has. The socket stays in
    the network namespace where it was made: a forked child, which may be in another one, has its own.

    libmnl waits with select(2), and glibc ends a program that gives it a descriptor of 1024 or more. The ruleset that is
    cached in a context is thrown away when the kernel's generation is another (nft_cache_update in src/cache.c).
    """
    lib = _library()
    context: int | None = lib.nft_ctx_new(0)
    if not context:
        raise OSError(errno.ENOMEM, "nftables: no context")
    lib.nft_ctx_buffer_output(context)
    lib.nft_ctx_buffer_error(context)
    return context


def _run(commands: str, flags: int) -> str:
    lib = _library()
    with _lock:
        context = _context(os.getpid())
        lib.nft_ctx_output_set_flags(context, flags)
        failed = lib.nft_run_cmd_from_buffer(context, commands.encode())
        output: bytes = lib.nft_ctx_get_output_buffer(context) or b""
        problem: bytes = lib.nft_ctx_get_error_buffer(context) or b""
    if failed:
        text = problem.decode(errors="replace").strip()
        number = errno.ENOENT if "No such file" in text else errno.EEXIST if "File exists" in text else errno.EINVAL
        raise OSError(number, f"nftables: {text.splitlines()[0] if text else 'refused'}")
    return output.decode()


def apply(commands: str) -> None:
    """Carries out `commands` as one transaction: all of it or nothing. Raises OSError with nft's words."""
    _run(commands, 0)


def query(command: str, *, terse: bool = True) -> list[dict[str, object]]:
    """Answer of a `list …` command, as libnftables-json(5) has it; `terse` leaves out the elements of sets and maps.

    Raises OSError ENOENT when it isn't there.
    """
    text = _run(command, _FLAG_JSON | (_FLAG_TERSE if terse else 0))
    found: list[dict[str, object]] = json.loads(text)["nftables"] if text.strip() else []
    return found


def tables() -> list[tuple[str, str]]:
    """(family, name) of each table."""
    found = []
    for item in query("list tables"):
        table = item.get("table")
        if isinstance(table, dict):
            found.append((str(table["family"]), str(table["name"])))
    return found


def watch() -> socket.socket:
    """A socket that tells of every transaction on this network namespace's tables; `authors` reads what it says."""
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER
    )
    try:
        sock.bind((0, 0))  # one without a number of its own is told nothing (do_one_broadcast in af_netlink.c)
        sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
    except BaseException:
        sock.close()
        raise
    return sock


def authors(data: bytes) -> list[int]:
    """Threads whose transactions have just ended, by their number: each ends with NFT_MSG_NEWGEN, which names it.

    Source: nf_tables_fill_gen_info in net/netfilter/nf_tables_api.c.
    """
    found, at = [], 0
    while at + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 20:
            break
        if kind == _NEWGEN:
            values = dict(attributes(data[at + 20 : at + length]))
            if _GEN_PROC_PID in values:
                found.append(struct.unpack(">I", values[_GEN_PROC_PID])[0])
        at += (length + 3) & ~3
    return found
