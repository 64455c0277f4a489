"""events."""

from __future__ import annotations

import sys
import time

from onggi.cli.command import Command, Exit
from onggi.cli.filters import parse_filters
from onggi.cli.units import clean, since_argument
from onggi.client import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.command import Context
    from onggi.cli.flags import Options
    from onggi.cli.templates import Template
    from onggi.client.shapes import Json


def _events(context: Context, options: Options, words: list[str]) -> None:
    del words
    try:
        since, until = since_argument(options.text("since")) or None, since_argument(options.text("until")) or None
    except ValueError as error:
        raise Exit(1, str(error)) from None
    stream = system.events(since=since, until=until, filters=parse_filters(options.list("filter")))
    format, template = options.text("format"), None
    if format and format != "json":
        from onggi.cli.templates import ParseError, Template

        try:
            template = Template(format.replace("\\t", "\t").replace("\\n", "\n"))
        except ParseError as error:
            raise Exit(64, f"Error parsing format: {error}") from None
    for event in context.engine.stream(stream):
        if format == "json":
            import json

            text = json.dumps(_ordered(event), separators=(",", ":"), ensure_ascii=False)
        else:
            text = _rendered(template, event) if template else _line(event)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


_ORDER = ("status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano")


def _ordered(event: Json) -> Json:
    """Keys as docker's client writes them, attributes by name."""
    found = {key: event[key] for key in _ORDER if key in event}
    actor = event["Actor"]
    found["Actor"] = {"ID": actor["ID"], "Attributes": dict(sorted((actor.get("Attributes") or {}).items()))}
    return found


def _rendered(template: Template, event: Json) -> str:
    """Raises Exit."""
    from onggi.cli.templates import Struct, TemplateError

    event = _ordered(event)
    actor = Struct({"ID": event["Actor"]["ID"], "Attributes": event["Actor"].get("Attributes") or {}}, "events.Actor")
    # Status, ID and From are gone from newer APIs, not from people's templates.
    old = {
        "Status": event.get("status", event["Action"]),
        "ID": event.get("id", actor["ID"]),
        "From": event.get("from", ""),
    }
    names = {
        "Type": event["Type"], "Action": event["Action"], "Actor": actor, "Scope": event.get("scope", ""), "Time": event["time"],
        "TimeNano": event["timeNano"],
    }  # fmt: skip
    try:
        return template.render(
            Struct(
                event | {"Actor": actor},
                "*events.Message",
                extra=old | names,
                hidden=frozenset(event) - frozenset(names),
            )
        )
    except TemplateError as error:
        raise Exit(64, f"Error parsing format: {error}") from None


def _line(event: Json) -> str:
    seconds, rest = divmod(int(event["timeNano"]), 10**9)
    zone = time.strftime("%z", time.localtime(seconds))
    shown_zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds)) + f".{rest:09d}{shown_zone}"
    attributes = event["Actor"].get("Attributes") or {}
    words = ", ".join(f"{key}={attributes[key]}" for key in sorted(attributes))
    return clean(f"{stamp} {event['Type']} {event['Action']} {event['Actor']['ID']}" + (f" ({words})" if words else ""))


COMMANDS = {
    "events": Command(
        _events, "[OPTIONS]", "Get real time events from the server",
        """
-f --filter filter:filter  Filter output based on conditions provided
   --format string  Format output using a custom template
   --since string  Show all events created since timestamp
   --until string  Stream events until this timestamp
""",
        most=0,
    ),
}  # fmt: skip
