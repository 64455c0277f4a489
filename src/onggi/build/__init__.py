"""Dockerfile → graph → solved in parallel with a cache → image.

Here: what `POST /build` does once its words are read. Begin in builder.py (what a build takes), then solving.py (the graph),
stages.py (one stage, instruction by instruction) and layering.py (steps that make layers). The Dockerfile language is pure:
lines.py, parse.py, shellwords.py. What touches files runs in worker processes: receivejob.py (the context comes in), copyjob.py
(COPY and ADD).
Not here: how a RUN step becomes a process (engine/, behind `runner.StepRunner`), where images come from (images/).
Invariants: (1) a step's key is made of what the step reads, by digest, and of nothing else; (2) a cache row is written after
its layer is whole and on the disk; (3) a context is never unpacked on the host: it is one file and an index, and paths
mean something in the index only; (4) a build that fails or is cancelled leaves whole layers in the cache, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onggi.build.builder import Builder

__all__ = ["Builder"]


def __getattr__(name: str) -> object:
    # Worker processes import a job's module, and this file with it: the engine's half would cost them 50 ms.
    if name == "Builder":
        from onggi.build.builder import Builder

        return Builder
    raise AttributeError(name)
