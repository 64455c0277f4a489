"""onggi beside dockerd and podman: the same work on each in one run, and a table of ratios.

`make bench` runs it. Begin in __main__.py; figures.py has what is measured, engines.py what it is measured on.
"""
