"""Coverage-guided fuzzing of everything that parses what strangers wrote: `make fuzz TARGET=dockerfile FOR=60`.

The targets are functions of bytes (targets.py). `make test` has the same parsers under hypothesis, with claims about
their answers; here one claim is made, that there is an answer or one of our errors, with millions of inputs that atheris
bends towards code not seen yet. What it finds stays in .cache/fuzz/TARGET, and begins the next run.
"""
