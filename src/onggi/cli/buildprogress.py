"""A build as it is told: plain lines, a picture that redraws itself, the events as they came, or nothing."""

from __future__ import annotations

import base64
import json
import os
import sys
import time

from onggi.cli.command import Exit
from onggi.cli.units import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    Json = dict[str, Any]

_EVERY_S = 0.1
_LINES = 6
"""Of the log of a running step that are shown."""
_TAIL = 20
"""Lines of a failed step that are repeated at the end."""


class Step:
    """A vertex as far as it is known."""

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, clean(name)
        self.began = self.ended = 0.0
        self.cached = False
        self.error = self.why = ""
        self.lines: list[str] = []
        self.rest = ""

    @property
    def running(self) -> bool:
        return bool(self.began) and not self.ended

    def seconds(self, now: float) -> float:
        return max(0.0, (self.ended or now) - self.began)


class Display:
    """Knows the steps; what is drawn is its children's affair. `failed` is the step that ended the build."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.steps: dict[str, Step] = {}
        self.warnings: list[Json] = []
        self.failure: Json | None = None

    def event(self, event: Json) -> None:
        for vertex in event.get("vertexes") or ():
            self._vertex(vertex)
        for said in event.get("explanations") or ():
            step = self._step(said["vertex"])
            step.why = clean(said["text"])
            self.explained(step)
        for log in event.get("logs") or ():
            self._log(log)
        for status in event.get("statuses") or ():
            self.stated(self._step(status["vertex"]), status)
        self.warnings += event.get("warnings") or ()
        self.failure = event.get("failure") or self.failure

    def _vertex(self, vertex: Json) -> None:
        step = self.steps.get(vertex["digest"])
        if step is None:
            step = self.steps[vertex["digest"]] = Step(len(self.steps) + 1, vertex["name"])
        if vertex.get("started") and not step.began:
            step.began = time.monotonic()
            self.started(step)
        if vertex.get("completed") and not step.ended:
            step.ended = time.monotonic()
            step.cached, step.error = bool(vertex.get("cached")), clean(vertex.get("error", ""))
            self.done(step)

    def _step(self, digest: str) -> Step:
        return self.steps.setdefault(digest, Step(len(self.steps) + 1, digest))

    def _log(self, log: Json) -> None:
        step = self._step(log["vertex"])
        text = step.rest + base64.b64decode(log["data"]).decode("utf-8", "replace")
        *lines, step.rest = text.split("\n")
        for line in lines:
            step.lines.append(clean(line.rpartition("\r")[2]))
            self.said(step, step.lines[-1])

    # What a display may say of it

    def started(self, step: Step) -> None: ...

    def done(self, step: Step) -> None: ...

    def said(self, step: Step, line: str) -> None: ...

    def stated(self, step: Step, status: Json) -> None: ...

    def explained(self, step: Step) -> None: ...

    def abandon(self) -> None:
        """Nothing more comes, and what has come is of no interest: the client ends."""

    def close(self) -> None:
        """Nothing more comes."""
        self._tell_warnings()
        self._tell_failure()
        self.out.flush()

    def _tell_warnings(self) -> None:
        found = {
            base64.b64decode(each["short"]).decode("utf-8", "replace"): each.get("url", "") for each in self.warnings
        }
        if found:
            self.out.write(f"\n {len(found)} warning{'s' if len(found) > 1 else ''} found:\n")
        for text, url in found.items():
            self.out.write(f" - {clean(text)}{f' ({url})' if url else ''}\n")

    def _tell_failure(self) -> None:
        if self.failure is None:
            return
        step = self.steps.get(self.failure.get("vertex", ""))
        if step is not None and step.lines:
            self.out.write(f"------\n > {step.name}:\n")
            self.out.writelines(f"{line}\n" for line in step.lines[-_TAIL:])
            self.out.write("------\n")
        source = self.failure.get("sourceInfo")
        if source:
            self.out.write(excerpt(source, self.failure["range"]))


def excerpt(source: Json, ranges: list[Json]) -> str:
    """The lines that an error is about, with those around them, as BuildKit's clients show them."""
    lines = base64.b64decode(source["data"]).decode("utf-8", "replace").split("\n")
    first, last = ranges[0]["start"]["line"], ranges[-1]["end"]["line"]
    rule = "-" * 20
    shown = range(max(1, first - 3), min(len(lines), last + 3) + 1)
    text = [f"{source['filename']}:{first}", rule]
    text += [
        f"{number:4} | {'>>> ' if first <= number <= last else '    '}{clean(lines[number - 1])}".rstrip()
        for number in shown
    ]
    return "\n".join([*text, rule, ""])


class Plain(Display):
    """Lines with the step's number, as `buildx build --progress=plain` prints them."""

    def started(self, step: Step) -> None:
        self.out.write(f"#{step.number} {step.name}\n")

    def said(self, step: Step, line: str) -> None:
        self.out.write(f"#{step.number} {time.monotonic() - step.began:.3f} {line}\n")
        self.out.flush()

    def explained(self, step: Step) -> None:
        self.out.write(f"#{step.number} not cached: {step.why}\n")

    def stated(self, step: Step, status: Json) -> None:
        if status.get("completed"):
            self.out.write(f"#{step.number} {clean(status['id'])} done\n")

    def done(self, step: Step) -> None:
        what = "CACHED" if step.cached else f"DONE {step.seconds(step.ended):.1f}s"
        if step.error:
            what = "CANCELED" if step.error == "context canceled" else f"ERROR: {step.error}"
        self.out.write(f"#{step.number} {what}\n\n")
        self.out.flush()


class Picture(Display):
    """All steps that have begun, and the last lines of those that run; drawn anew ten times a second, also when nothing is told."""

    def __init__(self, out: TextIO) -> None:
        import threading

        super().__init__(out)
        self._began = time.monotonic()
        self._drawn = 0
        self._lock = threading.Lock()
        """Around the steps: one thread hears of them, the other draws."""
        self._over = threading.Event()
        self._drawing = threading.Thread(target=self._redraw, name="build's picture", daemon=True)
        self._drawing.start()

    def event(self, event: Json) -> None:
        with self._lock:
            super().event(event)

    def abandon(self) -> None:
        # A thread that still writes to stderr at the interpreter's end aborts the program.
        self._over.set()
        self._drawing.join()

    def close(self) -> None:
        self.abandon()
        self._draw(final=True)
        super().close()

    def _redraw(self) -> None:
        while not self._over.wait(_EVERY_S):
            with self._lock:
                self._draw()

    def _draw(self, *, final: bool = False) -> None:
        now = time.monotonic()
        try:
            columns, rows = os.get_terminal_size(self.out.fileno())
        except OSError:
            columns, rows = 80, 24
        begun = [step for step in self.steps.values() if step.began]
        done = sum(1 for step in begun if step.ended)
        lines = [f"[+] Building {now - self._began:.1f}s ({done}/{len(self.steps)}){' FINISHED' if final else ''}"]
        for step in begun:
            lines += self._told(step, now, final=final)
        if not final:
            lines = [lines[0], *lines[1:][-max(1, rows - 2) :]]
        # Up to where the last picture began, and everything below is gone.
        erase = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        self.out.write(erase + "".join(f"{line[: columns - 1]}\n" for line in lines))
        self.out.flush()
        self._drawn = 0 if final else len(lines)

    @staticmethod
    def _told(step: Step, now: float, *, final: bool) -> list[str]:
        what = "CACHED " if step.cached else "ERROR " if step.error else ""
        lines = [f" => {what}{step.name}  {step.seconds(now):.1f}s"]
        if step.why:
            lines.append(f" => => not cached: {step.why}")
        if step.running and not final:
            lines += [f" => => # {line}" for line in step.lines[-_LINES:]]
        return lines


class Raw(Display):
    """The events themselves, a line of JSON each."""

    def event(self, event: Json) -> None:
        super().event(event)
        self.out.write(json.dumps(event, separators=(",", ":")) + "\n")
        self.out.flush()

    def close(self) -> None:
        self.out.flush()


class Silent(Display):
    """Nothing, but what has gone wrong."""

    def _tell_warnings(self) -> None: ...


def display(kind: str, *, quiet: bool) -> Display:
    """`kind` as --progress has it; on stderr, so that stdout is for what was asked for. Raises Exit."""
    out = sys.stderr
    if kind not in ("auto", "none", "plain", "quiet", "rawjson", "tty"):
        raise Exit(1, f"invalid progress mode {kind}")
    if quiet or kind in ("quiet", "none"):
        return Silent(out)
    if kind == "rawjson":
        return Raw(out)
    if kind == "tty" or (kind == "auto" and out.isatty()):
        return Picture(out)
    return Plain(out)
