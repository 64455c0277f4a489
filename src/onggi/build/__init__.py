"""Dockerfile → plan → solved side by side with a cache → images.

Here: what a build does once a door has taken it: `POST /build` (posting.py) or BuildKit's protocol (buildkit/). Begin in builder.py
(what builds share), then frontend.py and planning.py (a Dockerfile becomes a plan; pure from there: stages.py, plan.py), solving.py (a plan is
carried out), running.py and copying.py (its steps). The language is pure: lines.py, parse.py, shellwords.py, checks.py. What touches files of
strangers runs in worker processes: receivejob.py (the context comes in), copyjob.py (COPY and ADD), gitjob.py.
Not here: how a RUN step becomes a process (engine/, behind `runner.StepRunner`), where images come from (images/).
Invariants: (1) a step's key is made of what the step reads, by digest, and of nothing else; (2) a cache row is written after
its layer is whole and on the disk; (3) a context is never unpacked on the host: it is one file and an index, and paths
mean something in the index only; (4) a build that fails or is cancelled leaves whole layers in the cache, and no more; (5) a step that
several builds want runs once, and ends with the last of them; (6) a secret is on a tmpfs while its step runs, and nowhere else.
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
