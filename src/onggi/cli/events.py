"""events."""

from __future__ import annotations

import sys
import time

from onggi.cli.filters import parse_filters
from onggi.cli.main import Command
from onggi.cli.units import clean, since_argument
from onggi.client import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.flags import Options
    from onggi.cli.main import Context
    from onggi.client.shapes import Json


def _events(context: Context, options: Options, words: list[str]) -> None:
    del words
    stream = system.events(
        since=since_argument(options.text("since")) or None, until=since_argument(options.text("until")) or None,
        filters=parse_filters(options.list("filter")),
    )  # fmt: skip
    format, template = options.text("format"), None
    if format and format != "json":
        from onggi.cli.templates import Template

        template = Template(format)
    for event in context.engine.stream(stream):
        if format == "json":
            import json

            text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        else:
            text = template.render(_fields(event)) if template else _line(event)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _fields(event: Json) -> Json:
    return event | {
        "ID": event["Actor"]["ID"],
        "Time": event["time"],
        "TimeNano": event["timeNano"],
        "Status": event["Action"],
        "Scope": event.get("scope", ""),
    }


def _line(event: Json) -> str:
    seconds, rest = divmod(int(event["timeNano"]), 10**9)
    zone = time.strftime("%z", time.localtime(seconds))
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds)) + f".{rest:09d}" + (zone[:3] + ":" + zone[3:])
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
