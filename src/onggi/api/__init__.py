"""The Docker Engine API over HTTP, and `onggid`, the program that serves it.

Here: requests into calls of the engine, its values into answers; versions, streams, taken-over connections, listeners.
Begin in site.py (one request's way), then table.py and any routes_*.py; options.py and onggid.py are the program.
Not here: any decision about containers, images, networks (engine/ and the rooms under it).
Invariants: (1) every answer, errors too, goes out through answers.py or streams.py and carries the version headers;
(2) an exception becomes a status in one place, site.py; (3) nothing that a client does slowly holds memory without bound.
"""
