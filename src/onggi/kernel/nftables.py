"""nftables through libnftables: commands as text, each call one transaction.

Source: libnftables(3), nft(8). The library is opened at first use, in the engine alone: it takes 3 MB.
Not thread-safe: one context, used from one thread at a time.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import threading

_FLAG_JSON = 1 << 4
_FLAG_TERSE = 1 << 7
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
    lib.nft_ctx_free.argtypes = [ctypes.c_void_p]
    lib.nft_ctx_free.restype = None
    return lib


def _run(commands: str, flags: int) -> str:
    """A context for each call: the library keeps a cache of the ruleset in it, which others may have changed since."""
    lib = _library()
    with _lock:
        context = lib.nft_ctx_new(0)
        if not context:
            raise OSError(errno.ENOMEM, "nftables: no context")
        try:
            lib.nft_ctx_buffer_output(context)
            lib.nft_ctx_buffer_error(context)
            lib.nft_ctx_output_set_flags(context, flags)
            failed = lib.nft_run_cmd_from_buffer(context, commands.encode())
            output: bytes = lib.nft_ctx_get_output_buffer(context) or b""
            problem: bytes = lib.nft_ctx_get_error_buffer(context) or b""
        finally:
            lib.nft_ctx_free(context)
    if failed:
        text = problem.decode(errors="replace").strip()
        number = errno.ENOENT if "No such file" in text else errno.EEXIST if "File exists" in text else errno.EINVAL
        raise OSError(number, f"nftables: {text.splitlines()[0] if text else 'refused'}")
    return output.decode()


def apply(commands: str) -> None:
    """Carries out `commands` as one transaction: all of it or nothing. Raises OSError with nft's words."""
    _run(commands, 0)


def query(command: str) -> list[dict[str, object]]:
    """Answer of a `list …` command, as libnftables-json(5) has it. Raises OSError ENOENT when it isn't there."""
    text = _run(command, _FLAG_JSON | _FLAG_TERSE)
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
