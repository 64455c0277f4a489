"""Words of -p and --expose, as the API has them. Raises ValueError in docker's words (docker/go-connections, nat)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.client.shapes import Json


def _number(text: str) -> int:
    port = int(text) if text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    start, end = _number(first), _number(last or first)
    if end < start:
        raise ValueError(text)
    return start, end


def _address(text: str) -> str:
    import ipaddress

    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if bare:
            ipaddress.ip_address(bare)
    except ValueError:
        raise ValueError(f"invalid IP address: {bare}") from None
    return bare


def publish(word: str) -> dict[str, list[Json]]:
    """-p [ip:][host[-range]]:container[-range][/protocol] → "port/protocol": bindings."""
    if "=" in word:
        word = _long_form(word)
    *before, private = word.split(":")
    private, slash, protocol = private.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if not private:
        raise ValueError(f"no port specified: {word}<empty>")
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    host = before.pop() if before else ""
    address = _address(":".join(before))
    try:
        start, end = _range(private)
    except ValueError:
        raise ValueError(f"invalid containerPort: {private}") from None
    if not host:
        return {f"{port}/{protocol}": [{"HostIp": address, "HostPort": ""}] for port in range(start, end + 1)}
    try:
        first, last = _range(host)
    except ValueError:
        raise ValueError(f"invalid hostPort: {host}") from None
    if last - first != end - start:
        if start != end:
            raise ValueError(f"invalid ranges specified for container and host Ports: {private} and {host}")
        # One container port takes the first free one of the host's range.
        return {f"{start}/{protocol}": [{"HostIp": address, "HostPort": f"{first}-{last}"}]}
    return {
        f"{start + at}/{protocol}": [{"HostIp": address, "HostPort": str(first + at)}] for at in range(end - start + 1)
    }


def _long_form(word: str) -> str:
    """`published=8080,target=80,protocol=tcp` as the short form."""
    parts = {"protocol": "tcp"}
    for field in word.split(","):
        key, separator, value = field.partition("=")
        if not separator or not key:
            raise ValueError(f"invalid publish opts format (should be name=value but got '{field}')")
        parts[key] = value
    return f"{parts.get('published', '')}:{parts.get('target', '')}/{parts['protocol']}"


def expose(word: str) -> list[str]:
    """--expose port[-range][/protocol] → "port/protocol" each."""
    span, slash, protocol = word.partition("/")
    try:
        start, end = _range(span)
    except ValueError:
        first = next((part for part in span.split("-") if not part.isdigit()), "")
        reason = (
            f'strconv.ParseUint: parsing "{first}": invalid syntax'
            if first
            else f"invalid range specified for port: {span}"
        )
        raise ValueError(f"invalid range format for --expose: {word}, error: {reason}") from None
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    return [f"{port}/{protocol}" for port in range(start, end + 1)]
