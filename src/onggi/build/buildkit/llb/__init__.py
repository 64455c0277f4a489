"""Graphs of operations (LLB) that clients send: buildctl, Dagger's kin, frontends that are images.

Here: a Definition becomes operations with names and places (reading.py), which are carried out side by side, each from the cache, from
another build that is at it, or made now (carrying.py): sources (fetching.py), exec (executing.py), file actions (actions.py in the
engine, filejob.py in a worker). Merge and diff are lists of layers.
Not here: what becomes of the result (buildkit/outputs.py), how a layer is made and kept (build/layering.py, build/cache.py).
Begin in carrying.py. Invariants: (1) an operation's key is its own bytes and the layers that it reads, never where it stands in a graph;
(2) what isn't understood is refused before anything runs.
"""
