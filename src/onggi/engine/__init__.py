"""Containers as people know them: create, start, stop, exec, logs, events, health, restart.

Here: every decision about a container. Begin in engine.py (what an engine is made of), then container.py (states), starts.py,
exits.py and stops.py (the moves between them), preparing.py and spec.py (what docker's words mean to the kernel), reconcile.py
(after a restart).
Not here: HTTP (api/), namespaces and mounts (runtime/), bytes (store/), addresses (network/).
Invariants: (1) a state is committed before it is announced (of a start: its intent); (2) one lock a container, and nothing
waits for a client or the network under it; (3) work begun for a request is the engine's: it ends whole when the client hangs
up; (4) what the kernel holds derives its name from the container's id, so it is found without the database.
"""
