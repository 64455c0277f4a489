"""One container from a spec: create, start, exec, kill, delete; launcher and shim; `onggi-runtime`.

Four kinds of code live here, and no module is of two kinds:

- the engine's side, asyncio: client.py, handles.py, launching.py. Begin there.
- launcher, starter and shim, single-threaded and blocking, small in memory: launcher.py and lines.py keep some of each
  waiting, zygote.py forks them; starter.py takes requests and starting.py carries one out; spare.py is a shim before it has
  a container, shim.py one that has; execs.py starts execs and is their parent; streams.py, outlog.py and logfile.py,
  exitfile.py; logdrivers/ for logs that go elsewhere; protocol.py is what they and the engine say to each other.
- `onggi-runtime`: command.py, operations.py, reports.py, over the same code as a starter.
- the container's side: plan.py (what to do), init.py and parent.py (the parent of the child that does it), inside.py (the
  child of a start, from clone3 to exec), joining.py (of an exec), ahead.py (a child made before it is asked for), and what
  those call. Nothing is imported or opened by name once inside.

Not here: which image, address or name a container has (engine/), the system calls themselves (kernel/).
Invariants: (1) the launcher has one thread whenever it forks; (2) the exit record is in place before anybody is told of an
exit, and stays until the engine has committed it; (3) a container without a shim is killed, not left; (4) no descriptor
but stdio reaches the container.
"""
