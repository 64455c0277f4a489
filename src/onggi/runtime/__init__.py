"""One container from a spec: create, start, exec, kill, delete; launcher and shim; `onggi-runtime`.

Three kinds of code live here, and no module is of two kinds:

- the engine's side, asyncio: client.py, handles.py. Begin there.
- launcher and shim, single-threaded and blocking, small in memory: launcher.py, shim.py, execs.py, streams.py,
  logfile.py, exitfile.py; protocol.py is what they and the engine say to each other.
- the container's side, between clone3 and exec: plan.py (what to do), init.py and what it calls (doing it). Nothing is
  imported or opened by name once inside.

Not here: which image, address or name a container has (engine/), the system calls themselves (kernel/).
Invariants: (1) the launcher has one thread whenever it forks; (2) the exit record is on disk before anybody is told of an
exit, and stays until the engine has committed it; (3) a container without a shim is killed, not left; (4) no descriptor
but stdio reaches the container.
"""
