"""Logs that go to another program: syslog, fluentd, gelf, journald. In a process of their own, the carrier.

Here: what runs after the shim has forked a carrier for its container. Begin in carrier.py (the loop), then lines.py (output
as messages), connection.py (where they go); each driver is a file that turns a message into what its protocol has.
Not here: the pipe from the shim (runtime/carrying.py), what the options mean (engine/logconfig.py).
Invariants: (1) a carrier may block, fail and die without its container noticing more than its log's mode says; (2) it holds
nothing but its socket to the shim and its connection, and has no rights beyond opening that anew.
"""
