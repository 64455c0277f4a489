"""`onggi`, the command line: flag for flag what `docker` has, and deploy, rollback and doctor beside it.

Here: words into calls of the client, answers into columns, templates and exit codes. Begin in main.py (which command),
then flags.py (docker's flag grammar), then the module of a command. What a value of a flag may be is in checks.py and
mountwords.py, what a list shows in tables.py and templates.py, where engines are in contexts.py.
Not here: what an answer means (the engine's), how it travels (client/).
Invariants: (1) data goes to stdout, all else to stderr, but for what docker asks on stdout (prune); (2) a command imports only what it needs: `--version` costs two
empty interpreters at most, `ps` four; (3) what an engine or an image says is cleaned of terminal escapes before a
person's terminal gets it (a name can't type commands).
"""
