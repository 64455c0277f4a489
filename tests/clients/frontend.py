"""A frontend as an image carries one: it speaks LLBBridge over its stdin and stdout, with nothing but a bare interpreter.

Without `build-arg:FALLBACK` it solves the graph in /graph and returns it with a config of its own; with it, it hands the question on to the
built-in frontend. Not a module of the tests: its text goes into an image (test_clients_frontends.py).
"""

import os
import sys

BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(number: int, key: str, value: bytes) -> bytes:
    """One of a map from strings."""
    return field(number, field(1, key.encode()) + field(2, value))


def fields(data: bytes) -> dict[int, bytes]:
    """Of a message, those that are bytes; the last of each number."""
    found, at = {}, 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            number()
            continue
        size = number()
        found[key >> 3] = data[at : at + size]
        at += size
    return found


def write(kind: int, flags: int, stream: int, payload: bytes) -> None:
    data = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    while data:
        data = data[os.write(1, data) :]


def read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            sys.exit("the engine has gone")
        data += piece
    return data


STREAMS = iter(range(1, 1000, 2))


def call(method: str, request: bytes) -> bytes:
    """A unary call: HEADERS and DATA of RFC 9113, headers as literals without Huffman codes (RFC 7541, 6.2.2)."""
    stream = next(STREAMS)
    words = {
        ":method": "POST", ":scheme": "http", ":path": BRIDGE + method, ":authority": "x",
        "content-type": "application/grpc", "te": "trailers",
    }  # fmt: skip
    block = b""
    for name, value in words.items():
        # All lengths here are below 127: one byte.
        block += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    write(1, 4, stream, block)
    message = b"\0" + len(request).to_bytes(4, "big") + request
    write(0, 1, stream, message)
    answer = b""
    while True:
        head = read(9)
        payload = read(int.from_bytes(head[:3], "big"))
        kind, flags, of = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == 4 and not flags & 1:
            write(4, 1, 0, b"")
        elif kind == 6 and not flags & 1:
            write(6, 1, 0, payload)
        elif of == stream and kind == 0:
            answer += payload
        elif of == stream and kind == 1 and flags & 1:
            return answer[5:]


def main() -> None:
    options = [value.partition("=") for name, value in os.environ.items() if name.startswith("BUILDKIT_FRONTEND_OPT_")]
    given = {name: value for name, _, value in options}
    sys.stderr.write(f"this is the frontend, for {given['cmdline']}\n")
    os.write(1, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    write(4, 0, 0, b"")
    call("Ping", b"")
    if "build-arg:FAIL" in given:
        sys.exit(3)
    if "build-arg:ERROR" in given:
        call("Return", field(2, b"\x08\x02" + field(2, b"the frontend says no")))
        return
    shape = b"\x28\x01\x30\x01"  # allowResultReturn, allowResultArrayRef
    if "build-arg:FALLBACK" in given:
        words = b"".join(entry(3, name, value.encode()) for name, value in given.items() if name != "source")
        solved = call("Solve", field(2, b"dockerfile.v0") + words + shape)
        result = fields(solved)[3]
    else:
        with open("/graph", "rb") as file:
            solved = call("Solve", field(1, file.read()) + shape)
        reference = fields(fields(solved)[3])[3]
        config = b'{"config":{"Labels":{"by":"frontend"},"Cmd":["/bin/cat","/made"]}}'
        result = field(3, field(1, fields(reference)[1])) + entry(10, "containerimage.config", config)
    call("Return", field(1, result))


main()
