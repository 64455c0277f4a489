"""Dockerfiles that cover what the language has, each with what BuildKit makes of it.

Here: the cases (cases/*.toml; begin with copy.toml), how one is read (case.py) and how an image is described (describe.py).
`python -m tests.corpus SOCKET` builds all of them with the dockerd behind SOCKET, through buildx, and writes recorded.json; with
`--compare` it says instead what differs from what is recorded. `make test` builds them with onggi and compares with recorded.json.
"""
